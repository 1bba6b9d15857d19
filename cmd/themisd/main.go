// Command themisd runs one replica: the slim program, which links nothing it does not need.
package main

import (
	"os"

	"github.com/themis-bft/themis/cmd/themisd/daemon"
)

func main() { os.Exit(daemon.Main(daemon.Program{Name: "themisd"}, os.Args[1:])) }
