// Command themis is everything that is not a replica: it lays out clusters and runs local ones,
// reads and writes their data, and drives benchmarks, simulations and the demonstration.
package main

import (
	"os"

	"github.com/themis-bft/themis/internal/cli"
)

// version is set by the linker in packaged builds; others show the revision they came from.
var version string

func main() { os.Exit(cli.Main(version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
