package cluster

// Process is what the system says of a replica's process, without asking the replica.
type Process struct {
	Where
	Alive  bool
	Paused bool
	Lies   string // how it lies, empty if it does not
	Died   bool   // it was started, nobody stopped it here, and it does not run
}

// Processes looks at the process of every replica.
func (c *Cluster) Processes() []Process {
	list := make([]Process, len(c.Replicas))
	for i, r := range c.Replicas {
		where, p, stat := r.where()
		noted := r.process()
		list[i] = Process{Where: where, Alive: p != nil, Died: p == nil && noted != nil}
		if p != nil {
			list[i].Paused, list[i].Lies = stat.State == 'T', p.How
		}
	}
	return list
}
