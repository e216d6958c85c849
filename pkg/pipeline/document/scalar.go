package document

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Loader is whose rules turn a plain scalar into a value.
type Loader int

const (
	// PyYAML is yaml.safe_load: YAML 1.1 as Python reads it. Job files.
	PyYAML Loader = iota
	// OmegaConf is OmegaConf.load: as PyYAML, but `1e-3` is a float and dates
	// stay text. Files of parameters.
	OmegaConf
)

// ValueKind is the Python type of a scalar.
type ValueKind int

const (
	Null ValueKind = iota
	Bool
	Int
	Float
	String
	Date
)

func (k ValueKind) String() string {
	return [...]string{"empty", "a yes/no value", "a whole number", "a number", "text", "a date"}[k]
}

// Value is a scalar as Python has it.
type Value struct {
	Kind  ValueKind
	Bool  bool
	Float float64 // of Int and Float
	// Text is what Python's str prints: True, 750, 0.0003, inf; of a String its
	// characters.
	Text string
	// Fixed marks a Float that OmegaConf reads and PyYAML takes for text: 1e-3.
	Fixed bool
}

// maxDigits is the length from which Python refuses to convert a number.
const maxDigits = 4300

// longPlain is the length from which a plain scalar is either text or refused,
// without a look at the patterns.
const longPlain = 2 * maxDigits

// patterns are PyYAML's implicit resolvers (yaml/resolver.py) and the one that
// OmegaConf puts in place of its float (omegaconf/_utils.py).
var patterns = sync.OnceValue(func() (p struct{ boolean, float, integer, null, date, fixed *regexp.Regexp }) {
	p.boolean = regexp.MustCompile(`^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`)
	p.float = regexp.MustCompile(`^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	p.fixed = regexp.MustCompile(`^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)|\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	p.integer = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	p.null = regexp.MustCompile(`^(?:~|null|Null|NULL|)$`)
	p.date = regexp.MustCompile(`^(?:[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]|[0-9][0-9][0-9][0-9]-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9][0-9]:[0-9][0-9](?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9][0-9])?))?)$`)
	return p
})

// Value resolves a scalar. The error says why Python could not read it.
func (n *Node) Value(loader Loader) (Value, error) {
	switch n.Tag {
	case "":
		if !n.Plain {
			return Value{Kind: String, Text: n.Text}, nil
		}
		return plain(n.Text, loader)
	case "!!str":
		return Value{Kind: String, Text: n.Text}, nil
	case "!!null":
		return Value{Kind: Null, Text: "None"}, nil
	case "!!bool":
		return boolean(n.Text)
	case "!!int":
		return integer(n.Text)
	case "!!float":
		return float(n.Text)
	}
	return Value{}, fmt.Errorf("tag %s is not read here", gitmodels.Printable(n.Tag, 60))
}

// plain resolves a scalar without quotes and without a tag.
func plain(text string, loader Loader) (Value, error) {
	p := patterns()
	first := byte(0)
	if text != "" {
		first = text[0]
	}
	numeric := first >= '0' && first <= '9' || first == '-' || first == '+' || first == '.'
	switch {
	case len(text) > longPlain && numeric && strings.Trim(text, "0123456789abcdefABCDEFxX_.:+-") == "":
		return Value{}, fmt.Errorf("a number of %d characters is more than Python reads", len(text))
	case len(text) > longPlain:
		return Value{Kind: String, Text: text}, nil
	case !numeric && p.boolean.MatchString(text):
		return boolean(text)
	case numeric && p.float.MatchString(text):
		return float(text)
	case numeric && p.integer.MatchString(text):
		return integer(text)
	case numeric && loader == OmegaConf && p.fixed.MatchString(text):
		v, err := float(text)
		v.Fixed = true
		return v, err
	case !numeric && p.null.MatchString(text):
		return Value{Kind: Null, Text: "None"}, nil
	case numeric && loader == PyYAML && p.date.MatchString(text):
		return Value{Kind: Date, Text: text}, nil
	case text == "<<" || text == "=":
		return Value{}, fmt.Errorf("a bare %s has a meaning of its own in YAML", text)
	}
	return Value{Kind: String, Text: text}, nil
}

func boolean(text string) (Value, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on":
		return Value{Kind: Bool, Bool: true, Text: "True"}, nil
	case "no", "false", "off":
		return Value{Kind: Bool, Text: "False"}, nil
	}
	return Value{}, fmt.Errorf("%s is not a yes/no value", Quote(text))
}

// integer is SafeConstructor.construct_yaml_int.
func integer(text string) (Value, error) {
	bad := fmt.Errorf("%s is not a whole number that Python reads", Quote(text))
	s := strings.ReplaceAll(text, "_", "")
	if len(s) > maxDigits {
		return Value{}, fmt.Errorf("a number of %d digits is more than Python reads", len(s))
	}
	sign, s := cutSign(s)
	n := new(big.Int)
	ok := true
	switch {
	case s == "":
		return Value{}, bad
	case strings.HasPrefix(s, "0b"):
		ok = digitsOnly(s[2:], "01")
		if ok {
			_, ok = n.SetString(s[2:], 2)
		}
	case strings.HasPrefix(s, "0x"):
		ok = digitsOnly(s[2:], "0123456789abcdefABCDEF")
		if ok {
			_, ok = n.SetString(s[2:], 16)
		}
	case s != "0" && s[0] == '0':
		ok = digitsOnly(s, "01234567")
		if ok {
			_, ok = n.SetString(s, 8)
		}
	case strings.Contains(s, ":"):
		for part := range strings.SplitSeq(s, ":") {
			digit := new(big.Int)
			if ok = digitsOnly(part, "0123456789"); !ok {
				break
			}
			if _, ok = digit.SetString(part, 10); !ok {
				break
			}
			n.Mul(n, big.NewInt(60)).Add(n, digit)
		}
	default:
		ok = digitsOnly(s, "0123456789")
		if ok {
			_, ok = n.SetString(s, 10)
		}
	}
	if !ok {
		return Value{}, bad
	}
	if sign < 0 {
		n.Neg(n)
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return Value{Kind: Int, Float: f, Text: n.String()}, nil
}

func digitsOnly(s, digits string) bool { return s != "" && strings.Trim(s, digits) == "" }

func cutSign(s string) (float64, string) {
	switch {
	case strings.HasPrefix(s, "-"):
		return -1, s[1:]
	case strings.HasPrefix(s, "+"):
		return 1, s[1:]
	}
	return 1, s
}

// float is SafeConstructor.construct_yaml_float.
func float(text string) (Value, error) {
	bad := fmt.Errorf("%s is not a number that Python reads", Quote(text))
	if len(text) > maxDigits {
		return Value{}, fmt.Errorf("a number of %d characters is more than anyone means", len(text))
	}
	sign, s := cutSign(strings.ToLower(strings.ReplaceAll(text, "_", "")))
	f := 0.0
	switch {
	case s == ".inf":
		f = math.Inf(1)
	case s == ".nan":
		f = math.NaN()
	case strings.Contains(s, ":"):
		for part := range strings.SplitSeq(s, ":") {
			digit, err := strconv.ParseFloat(part, 64)
			if err != nil {
				return Value{}, bad
			}
			f = f*60 + digit
		}
		if math.IsInf(f, 0) {
			return Value{}, bad
		}
	default:
		var ok bool
		if f, ok = pythonFloat(s); !ok {
			return Value{}, bad
		}
	}
	f *= sign
	return Value{Kind: Float, Float: f, Text: Repr(f)}, nil
}

// pythonFloat is Python's float() for what the resolvers let through and for
// explicit tags: a number beyond the range is an infinity.
func pythonFloat(s string) (float64, bool) {
	if strings.ContainsAny(s, "xXpP_") {
		return 0, false // Go reads these, Python does not
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// Repr writes a float as Python's repr does: the shortest digits that read back
// the same, fixed from 1e-4 up to 1e16.
func Repr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); f == 0 || a >= 1e-4 && a < 1e16 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

// keyID tells keys apart as a Python dict does: 1, 0x1, 1.0 and true are one
// key, "1" is another.
func (l Loader) keyID(n *Node) string {
	v, err := n.Value(l)
	if err != nil {
		return "?" + n.Text
	}
	switch v.Kind {
	case Null:
		return "null"
	case Bool:
		if v.Bool {
			return "n1"
		}
		return "n0"
	case Int:
		return "n" + v.Text
	case Float:
		return "n" + strings.TrimSuffix(v.Text, ".0")
	case Date:
		return "d" + v.Text
	}
	return "s" + v.Text
}
