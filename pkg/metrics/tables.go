package metrics

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxColumns bounds the cells of a record.
const maxColumns = 10000

// rows reads a table: a header, then a record a line. row gets the cells of a
// record, as many as the header has, and its number from 0. A cell in quotes may
// hold the separator, but no end of line. A last line without its end may be
// broken: its writer was stopped.
func (r *reader) rows(p string, data []byte, comma string, header func([]string), row func(cells []string, number int)) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	columns, number, line, bad, firstBad := 0, 0, 0, 0, ""
	for len(text) > 0 {
		record, rest, ended := strings.Cut(text, "\n")
		text = rest
		line++
		record = strings.TrimSuffix(record, "\r")
		if strings.TrimSpace(record) == "" {
			continue
		}
		cells, err := split(record, comma)
		switch {
		case err == nil && columns == 0:
			columns = len(cells)
			header(cells)
			continue
		case err == nil && len(cells) == columns:
			row(cells, number)
			number++
			continue
		case err == nil:
			err = fmt.Errorf("%d cells, the header has %d", len(cells), columns)
		}
		if columns == 0 {
			r.warn("%s: left out, its header cannot be read: %v", show(p), err)
			return
		}
		if ended {
			if bad++; firstBad == "" {
				firstBad = fmt.Sprintf("line %d: %v", line, err)
			}
		}
	}
	if bad > 0 {
		r.warn("%s: %d lines are left out, the first: %s", show(p), bad, firstBad)
	}
}

// split takes a record apart.
func split(record, comma string) ([]string, error) {
	if n := strings.Count(record, comma); n >= maxColumns {
		return nil, fmt.Errorf("%d cells, more than %d", n+1, maxColumns)
	}
	if !strings.Contains(record, `"`) {
		return strings.Split(record, comma), nil
	}
	c := csv.NewReader(strings.NewReader(record))
	c.Comma = rune(comma[0])
	cells, err := c.Read()
	var fault *csv.ParseError
	if errors.As(err, &fault) {
		err = fault.Err
	}
	return cells, err
}

// column is one column of a table: its series is made with its first number.
type column struct {
	name    string
	series  *series
	refused bool
}

// table reads a .csv whose columns are series.
func (r *reader) table(p string, data []byte) {
	var columns []column
	step, clock := -1, -1
	front := prefix(p)
	r.rows(p, data, ",", func(header []string) {
		for i := range header {
			header[i] = strings.TrimSpace(header[i])
			columns = append(columns, column{name: header[i]})
		}
		step, clock = axisColumn(header, stepKeys), axisColumn(header, clockKeys)
	}, func(cells []string, number int) {
		at := stepOf(cells, step, number)
		for i := range columns {
			value, ok := cell(cells[i])
			if c := &columns[i]; ok && i != step && i != clock && !c.refused {
				if c.series == nil {
					c.series = r.get(p, front+c.name)
					c.refused = c.series == nil
				}
				r.add(c.series, at, value)
			}
		}
	})
}

// curve reads a .tsv of one series, which is called by its path.
func (r *reader) curve(p string, data []byte) {
	_, name, _ := strings.Cut("/"+p, curvesFolder)
	name = strings.TrimSuffix(name, ".tsv")
	front := prefix(p)
	// The summary beside the curves has the same name in dots.
	dotted := gitmodels.Printable(front+strings.ReplaceAll(name, "/", "."), 0)
	var s *series
	step, column := -1, -1
	r.rows(p, data, "\t", func(header []string) {
		for i := range header {
			header[i] = strings.TrimSpace(header[i])
		}
		step = axisColumn(header, stepKeys)
		clock := axisColumn(header, clockKeys)
		for i := range header {
			if i != step && i != clock {
				column = i
			}
		}
	}, func(cells []string, number int) {
		if column < 0 {
			return
		}
		value, ok := cell(cells[column])
		if !ok {
			return
		}
		if s == nil {
			if s = r.get(p, front+name); s == nil {
				column = -1
				return
			}
			if of := r.series[dotted]; of != nil && of != s && of.final != nil && len(of.points) == 0 {
				s.final = of.final
				delete(r.series, dotted)
			}
		}
		r.add(s, stepOf(cells, step, number), value)
	})
}

// axisColumn is the place of the first of keys in the header, or -1.
func axisColumn(header, keys []string) int {
	for _, k := range keys {
		if i := slices.Index(header, k); i >= 0 {
			return i
		}
	}
	return -1
}

// stepOf is the step of a record: its cell, or its number where that has none.
func stepOf(cells []string, column, number int) float64 {
	if column >= 0 {
		if f, ok := cell(cells[column]); ok && finite(f) {
			return f
		}
	}
	return float64(number)
}

// maxCell bounds a cell that can be a number.
const maxCell = 64

// cell reads a number as Python writes it, nan and inf among them. A number
// beyond the range of a float64 is an infinity.
func cell(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxCell {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}
