// Package e2e runs Roost as its users do: the built program between real clients (curl, a browser, npm's ws, gRPC's
// interoperability client, h2spec) and real servers (nginx, gRPC's server, this test binary started again as a node).
//
// Guarantee: everything runs on loopback, every program is ended by the test that started it and dies with the test
// binary, and every wait has a deadline. What needs a program or a right that is missing is skipped by name; where
// .ci/run has installed the programs (CI=true, Linux, root) a missing one is a failure. -short skips the whole package.
//
// Trap: these tests build the program once per run. ROOST_BIN=path tests that binary instead, for example a release.
package e2e
