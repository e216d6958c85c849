package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds nesting, so that a hostile line cannot exhaust the stack.
const maxDepth = 64

// parseObject reads one JSON object and calls number for every number in it,
// with the keys on the way joined by dots. Python's json writes NaN, Infinity
// and -Infinity, which encoding/json refuses: here they are numbers. Arrays,
// strings, booleans and null hold no metrics and are passed over. number is
// called in the order of the text, also for what stands before a fault.
func parseObject(data []byte, number func(name string, value float64)) error {
	p := &parser{data: data, number: number}
	p.space()
	if p.peek() != '{' {
		return errors.New("it does not begin with {")
	}
	if err := p.value("", 0, true); err != nil {
		return err
	}
	p.space()
	if p.at < len(p.data) {
		return p.fault("more text after the object")
	}
	return nil
}

// parseHistory reads one JSON object and calls record for every object in the
// array log_history, with its numbers as parseObject names them.
func parseHistory(data []byte, record func(found []named)) error {
	var found []named
	p := &parser{data: data, number: func(name string, value float64) { found = append(found, named{name, value}) }}
	p.space()
	if p.peek() != '{' {
		return errors.New("it does not begin with {")
	}
	err := p.members(func(key string) error {
		if key != "log_history" || p.peek() != '[' {
			return p.value("", 1, false)
		}
		return p.elements(func() error {
			if p.peek() != '{' {
				return p.value("", 2, false)
			}
			found = nil
			if err := p.value("", 0, true); err != nil {
				return err
			}
			record(found)
			return nil
		})
	})
	if err != nil {
		return err
	}
	p.space()
	if p.at < len(p.data) {
		return p.fault("more text after the object")
	}
	return nil
}

// parser walks a JSON text once, without recursion deeper than maxDepth.
type parser struct {
	data   []byte
	at     int
	number func(string, float64)
}

func (p *parser) fault(what string) error { return fmt.Errorf("byte %d: %s", p.at+1, what) }

func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// value reads any value; report says whether its numbers are metrics.
func (p *parser) value(name string, depth int, report bool) error {
	if depth > maxDepth {
		return p.fault(fmt.Sprintf("nested deeper than %d", maxDepth))
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(name, depth, report)
	case c == '[':
		return p.array(name, depth)
	case c == '"':
		_, err := p.text()
		return err
	case c == '-' || c >= '0' && c <= '9' || c == 'N' || c == 'I':
		f, err := p.float()
		if err == nil && report {
			p.number(name, f)
		}
		return err
	}
	for _, word := range []string{"true", "false", "null"} {
		if p.word(word) {
			return nil
		}
	}
	return p.fault("no JSON value")
}

func (p *parser) object(name string, depth int, report bool) error {
	return p.members(func(key string) error {
		full := key
		if depth > 0 {
			full = name + "." + key
		}
		if len(full) > 1<<16 {
			return p.fault("the keys are too long")
		}
		return p.value(full, depth+1, report)
	})
}

func (p *parser) array(name string, depth int) error {
	return p.elements(func() error { return p.value(name, depth+1, false) })
}

// members reads an object; value reads what belongs to a key.
func (p *parser) members(value func(key string) error) error {
	return p.list('}', func() error {
		if p.peek() != '"' {
			return p.fault("no key")
		}
		key, err := p.text()
		if err != nil {
			return err
		}
		p.space()
		if p.peek() != ':' {
			return p.fault("no colon after the key")
		}
		p.at++
		p.space()
		return value(key)
	})
}

// elements reads an array; value reads one of its values.
func (p *parser) elements(value func() error) error { return p.list(']', value) }

// list reads what stands between brackets, up to the closing one, between
// commas.
func (p *parser) list(end byte, one func() error) error {
	p.at++
	p.space()
	if p.peek() == end {
		p.at++
		return nil
	}
	for {
		p.space()
		if err := one(); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case end:
			p.at++
			return nil
		default:
			return p.fault("neither comma nor " + string(end))
		}
	}
}

// text reads a string; NaN inside one is three letters.
func (p *parser) text() (string, error) {
	start := p.at
	for p.at++; p.at < len(p.data); p.at++ {
		switch c := p.data[p.at]; {
		case c == '\\':
			p.at++
		case c == '"':
			p.at++
			return unquote(p.data[start:p.at])
		case c < 0x20:
			return "", p.fault("a control character in a string")
		}
	}
	return "", p.fault("a string without an end")
}

func unquote(quoted []byte) (string, error) {
	plain := true
	for _, c := range quoted {
		plain = plain && c != '\\' && c < utf8.RuneSelf
	}
	if plain {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}

// float reads a number. One beyond the range of a float64 is an infinity, as
// in Python.
func (p *parser) float() (float64, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	switch {
	case p.word("Infinity"):
	case p.at == start && p.word("NaN"):
	default:
		if !p.decimal() {
			p.at = start
			return 0, p.fault("no number")
		}
	}
	f, err := strconv.ParseFloat(string(p.data[start:p.at]), 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil
	}
	return f, err
}

// decimal passes over the digits of a JSON number, its sign already read.
func (p *parser) decimal() bool {
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return false
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return false
		}
	}
	if p.peek() == 'e' || p.peek() == 'E' {
		p.at++
		if p.peek() == '+' || p.peek() == '-' {
			p.at++
		}
		return p.digits()
	}
	return true
}

func (p *parser) digits() bool {
	start := p.at
	for p.peek() >= '0' && p.peek() <= '9' {
		p.at++
	}
	return p.at > start
}

func (p *parser) word(w string) bool {
	if len(p.data)-p.at >= len(w) && string(p.data[p.at:p.at+len(w)]) == w {
		p.at += len(w)
		return true
	}
	return false
}
