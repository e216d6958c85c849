package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// DefaultLogLimit bounds a log whose job names no limit, in bytes.
const DefaultLogLimit = 64 << 20

// logWriter takes the job's output. It never stops reading, so that a full log
// or disk does not hold the job up.
type logWriter struct {
	file  *os.File
	limit int64

	mu      sync.Mutex
	written int64
	dropped int64 // beyond the limit
	lost    int64 // could not be written
	gap     int64 // lost since the last write that worked
	cause   error // of the first loss
	full    bool  // the closing line stands
	tail    []byte
}

// openLog opens the log, appending to what is there.
func openLog(path string, limit int64) (*logWriter, error) {
	if limit <= 0 {
		limit = DefaultLogLimit
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &logWriter{file: f, limit: limit, written: info.Size()}, nil
}

// copy takes everything from r to its end, or to its deadline.
func (l *logWriter) copy(r io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		l.take(buf[:n])
		if err != nil {
			return
		}
	}
}

func (l *logWriter) take(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, b...)
	if len(l.tail) > 4096 {
		l.tail = append(l.tail[:0], l.tail[len(l.tail)-4096:]...)
	}
	if over := l.written + int64(len(b)) - l.limit; over > 0 {
		over = min(over, int64(len(b)))
		l.dropped += over
		b = b[:int64(len(b))-over]
	}
	l.put(b)
	if l.dropped > 0 && !l.full && l.gap == 0 {
		// The limit bounds the job's output; this line stands beyond it.
		line := fmt.Sprintf("git-models: the log is full (%s), what follows is dropped\n", bytesWords(l.limit))
		if l.written > 0 && !strings.HasSuffix(string(b), "\n") {
			line = "\n" + line
		}
		l.full = l.raw([]byte(line))
	}
}

// put writes b, or counts it as lost; once writing works again the log says
// what is missing.
func (l *logWriter) put(b []byte) {
	if len(b) == 0 {
		return
	}
	if l.gap > 0 {
		if !l.raw(fmt.Appendf(nil, "\ngit-models: %d bytes are missing here: %v\n", l.gap, l.cause)) {
			l.lost += int64(len(b))
			l.gap += int64(len(b))
			return
		}
		l.gap = 0
	}
	n, err := l.file.Write(b)
	l.written += int64(n)
	if err != nil {
		l.lose(int64(len(b)-n), err)
	}
}

func (l *logWriter) raw(b []byte) bool {
	_, err := l.file.Write(b)
	return err == nil
}

func (l *logWriter) lose(n int64, err error) {
	if l.cause == nil {
		var pe *os.PathError
		if l.cause = err; errors.As(err, &pe) {
			l.cause = pe.Err
		}
	}
	l.lost += n
	l.gap += n
}

// lastLine is the last line with words in it.
func (l *logWriter) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(string(l.tail))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// close makes the log durable and returns what the outcome has to say of it.
func (l *logWriter) close() (warnings []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		warnings = append(warnings, fmt.Sprintf("the log is cut at %s, %d bytes are dropped", bytesWords(l.limit), l.dropped))
	}
	if l.lost > 0 {
		warnings = append(warnings, fmt.Sprintf("%d bytes of the log could not be written: %v", l.lost, l.cause))
	}
	if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
		warnings = append(warnings, fmt.Sprintf("the log could not be made durable: %v", err))
	}
	return warnings
}
