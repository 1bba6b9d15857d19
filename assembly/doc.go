// Package assembly is the one table from name to constructor: which protocols and
// applications a build contains. To add one, add one line. It owns nothing but the tables,
// runs nothing, registers nothing at import time, and is called by programs and by config,
// from any goroutine.
package assembly
