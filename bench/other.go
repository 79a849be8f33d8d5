//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
)

var errLinux = errors.New("needs Linux: CPU is accounted by /proc, upstream and load generator use epoll")

func run(context.Context, options, io.Writer, io.Writer) error { return errLinux }

func child(string, string, io.Writer) error { return errLinux }
