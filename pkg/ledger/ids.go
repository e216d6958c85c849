package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// newIDs returns a source of ids that sort in the order they are given out by
// this process, and by time between processes: twelve digits of milliseconds,
// four that count within one, eight at random.
func newIDs(now func() time.Time) func() string {
	var (
		mu    sync.Mutex
		last  int64
		count int
	)
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		ms := now().UnixMilli()
		switch {
		case ms > last:
			last, count = ms, 0
		case count < 0xffff: // the same millisecond, or the clock was set back
			count++
		default:
			last, count = last+1, 0
		}
		var random [4]byte
		rand.Read(random[:]) // never fails: the runtime ends the program instead
		return fmt.Sprintf("%012x%04x%s", last, count, hex.EncodeToString(random[:]))
	}
}
