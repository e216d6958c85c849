// Package registrytest serves a container registry on loopback, for tests and the
// demonstration: the registry of go-containerregistry, with faults on demand, and
// a base image that is made of this machine's own python3, so that nothing is
// fetched from anywhere. No program that is installed imports it.
package registrytest

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Server is a registry that speaks plain HTTP.
type Server struct {
	Host string // 127.0.0.1:PORT

	mu       sync.Mutex
	store    http.Handler
	http     *http.Server // nil while it is down
	fault    int          // the HTTP status of every answer; 0: none
	writes   int          // the HTTP status of every answer to a write; 0: none
	password string       // of any user; empty: nobody is asked
	seen     []string     // "METHOD path" of the requests
}

// Start starts a registry on a free port. It keeps its content in memory, and over
// Down and Up.
func Start() (*Server, error) {
	s := &Server{Host: "127.0.0.1:0", store: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	return s, s.Up()
}

// Up begins to listen, again on the port that it had.
func (s *Server) Up() error {
	l, err := net.Listen("tcp", s.Host)
	if err != nil {
		return fmt.Errorf("starting a registry: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Host = l.Addr().String()
	s.http = &http.Server{Handler: s}
	go s.http.Serve(l) // until Down
	return nil
}

// Down stops to listen and cuts all connections.
func (s *Server) Down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	err := s.http.Close()
	s.http = nil
	return err
}

// Fail has every request answered with the HTTP status, or with writes every one
// that changes something; 0 ends it.
func (s *Server) Fail(status int, writes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault, s.writes = status, 0; writes {
		s.fault, s.writes = 0, status
	}
}

// Ask has everybody asked for the password from now on; empty ends it.
func (s *Server) Ask(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// Requests are those since the last call, as METHOD and path.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	fault, password := s.fault, s.password
	if r.Method != http.MethodGet && r.Method != http.MethodHead && s.writes != 0 {
		fault = s.writes
	}
	s.mu.Unlock()
	_, given, _ := r.BasicAuth()
	switch {
	case password != "" && given != password:
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case fault != 0:
		refuse(w, fault, "UNKNOWN", strings.ToLower(http.StatusText(fault)))
	default:
		s.store.ServeHTTP(w, r)
	}
}

// refuse answers in the form of the distribution specification.
func refuse(w http.ResponseWriter, status int, code, words string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, words)
}
