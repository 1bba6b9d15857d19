// Command themisd-byz runs one replica that lies, for demonstrations and tests. It is built
// beside themisd and never packaged.
package main

import (
	"flag"
	"os"
	"strings"

	"github.com/themis-bft/themis/cmd/themisd/daemon"
	"github.com/themis-bft/themis/internal/lying"
	"github.com/themis-bft/themis/replica"
)

func main() {
	var how string
	os.Exit(daemon.Main(daemon.Program{
		Name: "themisd-byz",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&how, "how", "wrong-replies", "way to lie: "+strings.Join(lying.All(), ", "))
		},
		Wrap: func(o *replica.Options) error {
			p, err := lying.New(how, o.Self, o.Family.Codec(o.Membership), o.Signer)
			if err != nil {
				return err
			}
			o.Transport, o.Machine = p.Transport(o.Transport), p.Machine(o.Machine)
			o.Files, o.Wall = p.Files(o.Files), p.Wall(o.Wall)
			o.Log.Warn("this replica lies", "replica", int(o.Self), "how", how, "meaning", lying.Explain(how))
			return nil
		},
	}, os.Args[1:]))
}
