package admin

import "log/slog"

// Events keep the latest operators' log lines.
type Events struct{ slog.Handler }

// NewEvents returns Events that pass everything on to next.
func NewEvents(next slog.Handler) *Events { return &Events{next} }
