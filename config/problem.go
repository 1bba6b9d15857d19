package config

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Problem is one thing that is wrong with a file: where, what, and what to do about it.
type Problem struct {
	File string
	Line int // 0 if the whole file is meant
	What string
	Hint string
}

// Error is "file:line: what" and, on a line of its own, the hint.
func (p *Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Hint == "" {
		return where + ": " + p.What
	}
	return where + ": " + p.What + "\n  hint: " + p.Hint
}

// Problems are all problems of one file in the order of its lines; never empty as an error.
type Problems []*Problem

// Error is one paragraph per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// file is a parsed file under inspection: where its keys stand, and what was found wrong.
type file struct {
	name     string
	lines    map[string]int // path of a key or table, such as "peers[1].dial", to its line
	problems Problems
}

// parse decodes strictly into raw and remembers the line of every key.
func parse(name string, data []byte, raw any, known []string) (*file, error) {
	f := &file{name: name, lines: map[string]int{}}
	dec := toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields()
	err := dec.Decode(raw)
	var unknown *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, _ := e.Position()
			f.add(row, fmt.Sprintf("unknown key %q", strings.Join(e.Key(), ".")), suggestion(e.Key(), known))
		}
	case errors.As(err, &bad):
		row, _ := bad.Position()
		what := goField.ReplaceAllString(strings.TrimPrefix(bad.Error(), "toml: "), "")
		if key := strings.Join(bad.Key(), "."); key != "" {
			what = key + ": " + what
		}
		f.add(row, what, "correct the line, then run: "+f.again())
	case err != nil:
		f.add(0, strings.TrimPrefix(err.Error(), "toml: "), "correct the file, then run: "+f.again())
	default:
		f.index(data)
	}
	return f, f.err()
}

// goField is what the TOML library says of our source and no operator wants to know.
var goField = regexp.MustCompile(`struct field \S+ of type `)

// again is the command that shows whether a correction helped.
func (f *file) again() string { return "themis config validate " + f.name }

func (f *file) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	sort.SliceStable(f.problems, func(i, j int) bool { return f.problems[i].Line < f.problems[j].Line })
	return f.problems
}

func (f *file) add(line int, what, hint string) {
	f.problems = append(f.problems, &Problem{File: f.name, Line: line, What: what, Hint: hint})
}

// bad reports a problem with the value of a key; the hint defaults to the usual one.
func (f *file) bad(path, hint, format string, args ...any) {
	if hint == "" {
		hint = "correct the line, then run: " + f.again()
	}
	f.add(f.line(path), path+": "+fmt.Sprintf(format, args...), hint)
}

// has reports whether the key stands in the file.
func (f *file) has(path string) bool { return f.lines[path] > 0 }

// line is the line of a key, or of the closest table around it.
func (f *file) line(path string) int {
	for path != "" {
		if n := f.lines[path]; n > 0 {
			return n
		}
		cut := strings.LastIndexAny(path, ".[")
		path = path[:max(cut, 0)]
	}
	return 0
}

// require reports the keys that are missing.
func (f *file) require(paths ...string) {
	for _, p := range paths {
		if !f.has(p) {
			f.add(f.line(p), fmt.Sprintf("missing key %q", p), "add it, then run: "+f.again())
		}
	}
}

// index walks the document once more, which is known to be valid, and notes where keys stand.
func (f *file) index(data []byte) {
	var p unstable.Parser
	p.Reset(data)
	prefix, counts := "", map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			prefix, _ = f.note(&p, e, "")
		case unstable.ArrayTable:
			path, line := f.note(&p, e, "")
			prefix = fmt.Sprintf("%s[%d]", path, counts[path])
			counts[path]++
			f.lines[prefix] = line
		case unstable.KeyValue:
			path, line := f.note(&p, e, prefix)
			f.value(&p, e.Value(), path, line)
		}
	}
}

// note records the key of e below prefix.
func (f *file) note(p *unstable.Parser, e *unstable.Node, prefix string) (path string, line int) {
	path = prefix
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if path != "" {
			path += "."
		}
		path += string(n.Data)
		line = p.Shape(n.Raw).Start.Line
	}
	if f.lines[path] == 0 {
		f.lines[path] = line
	}
	return path, line
}

// value records the keys inside inline tables and arrays.
func (f *file) value(p *unstable.Parser, v *unstable.Node, path string, line int) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			sub, at := f.note(p, it.Node(), path)
			f.value(p, it.Node().Value(), sub, at)
		}
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); i++ {
			sub := fmt.Sprintf("%s[%d]", path, i)
			f.lines[sub] = line
			f.value(p, it.Node(), sub, line)
		}
	}
}

// suggestion names the known key that the unknown one was probably meant to be.
func suggestion(key toml.Key, known []string) string {
	have, best, distance := strings.Join(key, "."), "", 4
	for _, k := range known {
		if d := editDistance(have, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known keys: " + strings.Join(known, ", ")
}

// editDistance counts the insertions, deletions and replacements between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
