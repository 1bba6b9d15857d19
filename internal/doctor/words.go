package doctor

import "strings"

// wordsMax bounds what is quoted of a log.
const wordsMax = 300

// lastWords finds the error with which the last run of a replica ended, in the end of its log.
// Lines before the last "started" or "stopping" belong to earlier runs, or to one that was told
// to stop. It is empty if the log ends without an error.
func lastWords(log string) string {
	lines := strings.Split(log, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		switch {
		case message(line, "started"), message(line, "stopping"):
			return ""
		case dying(line):
			if next := i + 1; next < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[next]), "hint: ") {
				line += " (" + strings.TrimSpace(lines[next]) + ")"
			}
			return clip(line)
		}
	}
	return ""
}

// message reports whether a line of the log, in either format, carries this message.
func message(line, text string) bool {
	return strings.Contains(line, "msg="+text+" ") || strings.HasSuffix(line, "msg="+text) || strings.Contains(line, `"msg":"`+text+`"`)
}

// dying reports whether a process ends with this line. Of a panic that is its first line, which
// stands above the stacks.
func dying(line string) bool {
	for _, p := range []string{"themisd: ", "themisd-byz: ", "panic: ", "fatal error: "} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return strings.Contains(line, "this replica cannot go on")
}

func clip(s string) string {
	if len(s) > wordsMax {
		return s[:wordsMax] + "…"
	}
	return s
}
