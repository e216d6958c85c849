package gitrepo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"
)

// pack reads single small objects of a pack, see gitformat-pack(5). Of the index
// it reads what a binary search compares, never the whole.
type pack struct {
	index, data *os.File
	size        int64 // bytes of data
	ids         sortedIDs
	offsets     int64 // where the index has the offsets of four bytes
	large       int64 // where it has those of eight
	largeEnd    int64
}

// packedKinds are the kinds of packed objects that are whole, by their number.
var packedKinds = [...]string{1: "commit", 2: "tree", 3: "blob", 4: "tag"}

// The others are changes of another object.
const (
	packedOfsDelta = 6
	packedRefDelta = 7
)

// maxChain bounds deltas of deltas; git makes them up to 50 by default.
const maxChain = 50

// openPack opens <path>.idx and <path>.pack.
func openPack(path string, hash int) (*pack, error) {
	p := &pack{}
	var err error
	if p.data, err = os.OpenFile(path+".pack", os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
		return nil, err
	}
	if p.index, err = os.OpenFile(path+".idx", os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
		err = p.open(int64(hash))
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pack) open(hash int64) error {
	index, err := p.index.Stat()
	if err != nil {
		return err
	}
	data, err := p.data.Stat()
	if err != nil {
		return err
	}
	head, last := make([]byte, 8), make([]byte, 4)
	if _, err := p.index.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := p.index.ReadAt(last, 8+1020); err != nil {
		return err
	}
	count := binary.BigEndian.Uint32(last)
	n := int64(count)
	p.size = data.Size()
	p.ids = sortedIDs{p.index, 8, 8 + 1024, count}
	p.offsets = 8 + 1024 + n*(hash+4)
	p.large = p.offsets + n*4
	p.largeEnd = index.Size() - 2*hash
	if string(head) != "\xfftOc\x00\x00\x00\x02" || p.largeEnd < p.large || !index.Mode().IsRegular() || !data.Mode().IsRegular() {
		return errUnusual
	}
	return nil
}

func (p *pack) close() {
	p.data.Close()
	if p.index != nil {
		p.index.Close()
	}
}

// find is where the pack has the object.
func (p *pack) find(id string) (at int64, ok bool, err error) {
	pos, ok, err := p.ids.find(id)
	if err != nil || !ok {
		return 0, false, err
	}
	var buf [8]byte
	if _, err := p.index.ReadAt(buf[:4], p.offsets+4*int64(pos)); err != nil {
		return 0, false, err
	}
	short := binary.BigEndian.Uint32(buf[:])
	if short&0x80000000 == 0 {
		return int64(short), true, nil
	}
	where := p.large + 8*int64(short&0x7fffffff)
	if where+8 > p.largeEnd {
		return 0, false, errUnusual
	}
	if _, err := p.index.ReadAt(buf[:], where); err != nil {
		return 0, false, err
	}
	return int64(binary.BigEndian.Uint64(buf[:])), true, nil
}

// object reads the one at an offset, of at most maxRead bytes, and its kind.
func (p *pack) object(s *store, at int64, depth int) (kind int, body []byte, err error) {
	if at < 12 || at >= p.size || depth > maxChain {
		return 0, nil, errUnusual
	}
	head := make([]byte, min(64, p.size-at)) // kind, size and base take less
	if _, err := p.data.ReadAt(head, at); err != nil {
		return 0, nil, err
	}
	kind, size, used := packedHead(head)
	if used == 0 || size > maxRead {
		return 0, nil, errUnusual
	}
	base := int64(0)
	switch kind {
	case 1, 2, 3, 4:
	case packedOfsDelta:
		back, n := packedOffset(head[used:])
		if n == 0 || back <= 0 || back >= at {
			return 0, nil, errUnusual
		}
		used, base = used+n, at-back
	case packedRefDelta:
		if len(head) < used+s.hash {
			return 0, nil, errUnusual
		}
		found, ok, err := p.find(string(head[used : used+s.hash]))
		if err != nil || !ok {
			return 0, nil, errors.Join(err, errUnusual)
		}
		used, base = used+s.hash, found
	default:
		return 0, nil, errUnusual
	}
	from := at + int64(used)
	body, err = s.inflate(io.NewSectionReader(p.data, from, p.size-from), size)
	if err != nil || int64(len(body)) != size {
		return 0, nil, errors.Join(err, errUnusual)
	}
	if kind < packedOfsDelta {
		return kind, body, nil
	}
	kind, source, err := p.object(s, base, depth+1)
	if err != nil {
		return 0, nil, err
	}
	body, err = patch(source, body)
	return kind, body, err
}

// packedHead reads kind and size: four bits of it, then seven a byte. used is 0
// when it is cut short.
func packedHead(b []byte) (kind int, size int64, used int) {
	for shift := 0; used < len(b) && shift <= 32; used++ {
		c := b[used]
		if used == 0 {
			kind, size, shift = int(c>>4&7), int64(c&15), 4
		} else {
			size |= int64(c&0x7f) << shift
			shift += 7
		}
		if c&0x80 == 0 {
			return kind, size, used + 1
		}
	}
	return 0, 0, 0
}

// packedOffset reads how far back a delta's base is.
func packedOffset(b []byte) (back int64, used int) {
	for used < len(b) && used < 8 {
		c := b[used]
		if used > 0 {
			back++
		}
		back = back<<7 | int64(c&0x7f)
		if used++; c&0x80 == 0 {
			return back, used
		}
	}
	return 0, 0
}

// patch applies a delta: the sizes before and after, then pieces to copy from
// the source and pieces to insert.
func patch(source, delta []byte) ([]byte, error) {
	before, n := binary.Uvarint(delta)
	if n <= 0 || before != uint64(len(source)) {
		return nil, errUnusual
	}
	delta = delta[n:]
	after, n := binary.Uvarint(delta)
	if n <= 0 || after > maxRead {
		return nil, errUnusual
	}
	delta = delta[n:]
	var out bytes.Buffer
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		piece := delta
		if op&0x80 == 0 {
			if op == 0 || int(op) > len(delta) {
				return nil, errUnusual
			}
			piece, delta = delta[:op], delta[op:]
		} else {
			var args [7]byte // four of the offset, three of the size
			for i := range args {
				if op&(1<<i) == 0 {
					continue
				}
				if len(delta) == 0 {
					return nil, errUnusual
				}
				args[i], delta = delta[0], delta[1:]
			}
			at := uint64(binary.LittleEndian.Uint32(args[:4]))
			size := uint64(args[4]) | uint64(args[5])<<8 | uint64(args[6])<<16
			if size == 0 {
				size = 0x10000
			}
			if at+size > uint64(len(source)) {
				return nil, errUnusual
			}
			piece = source[at : at+size]
		}
		if uint64(out.Len()+len(piece)) > after {
			return nil, errUnusual
		}
		out.Write(piece)
	}
	if uint64(out.Len()) != after {
		return nil, errUnusual
	}
	return out.Bytes(), nil
}
