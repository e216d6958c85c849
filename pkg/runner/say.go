package runner

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// sayer logs a fault that lasts when it appears or changes, not at every look.
type sayer struct {
	log *slog.Logger
	mu  sync.Mutex
	was map[string]string
}

func newSayer(log *slog.Logger) *sayer { return &sayer{log: log, was: map[string]string{}} }

// warn logs msg with args unless it said just that of key last time.
func (s *sayer) warn(key, msg string, args ...any) {
	if s.changed(key, msg+fmt.Sprint(args...)) {
		s.log.Log(context.Background(), slog.LevelWarn, msg, args...)
	}
}

// changed remembers text as the last word on key and reports whether it is new.
func (s *sayer) changed(key, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.was[key] == text {
		return false
	}
	s.was[key] = text
	return true
}

// over forgets key: its fault has passed.
func (s *sayer) over(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.was, key)
}
