package sim

import (
	"bytes"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// simClient drives a real session.
type simClient struct {
	w       *world
	index   int
	end     int // its place in the network
	id      bft.ClientID
	rand    *rng.Source
	session *client.Session
	out     client.Output
	faulty  byz.ClientStrategy
	env     *byz.ClientEnv

	budget int // operations it may still start in this phase
	calls  map[client.Token]*call
	order  []*call // submitted and not sent yet, oldest first
	alarm  bft.Duration
	next   bft.Duration // no new operation before

	nonce   uint64 // of the last OPEN
	number  uint64 // session of the last request
	highest uint64 // first number that was not sent yet
}

// call is one operation from its submission to its end.
type call struct {
	op       check.Operation
	bytes    []byte
	token    client.Token
	session  uint64
	number   uint64
	deadline bft.Duration
	scan     bool
}

// clock is right for most clients; some have none, and some are an hour ahead.
func (c *simClient) clock() bft.Time {
	switch c.rand.Intn(8) {
	case 0:
		return 0
	case 1:
		return wallStart + bft.Time(3600*bft.Second)
	}
	return wallStart
}

func (w *world) makeClients(o Options, r *rng.Source) {
	s := &w.swarm
	for i := range s.clients + s.faultyClients {
		c := &simClient{
			w: w, index: i, end: w.n + i, id: w.keys.ids[i], rand: r.Fork(uint64(i)), calls: make(map[client.Token]*call),
		}
		c.session = client.NewSession(&s.membership, c.id, w.keys.clients[i], client.Options{
			Seed: c.rand.Uint64(), Clock: c.clock(), Timeout: s.patience / 2, TimeoutMax: s.patience * 4,
			Window: max(s.outstanding, s.bundle), Bundle: s.bundle,
		})
		if i >= s.clients {
			e := c.draw(o)
			w.chart.note("client %d is faulty: %s", i, e.Name)
			w.met.strategy(e.Name)
			c.faulty = e.Make(c.rand)
			w.oracle.Faulty(c.id)
			c.env = &byz.ClientEnv{Rand: c.rand.Fork(3), Replicas: w.n, Sign: c.sign(w.keys.clients[i]), Send: c.put}
		}
		w.clients = append(w.clients, c)
		for id := range w.n {
			w.queue.push(event{at: w.net.latency(), what: clientLink, from: int32(id), to: int32(c.end)})
		}
	}
}

// draw draws what a faulty client does, of what the options leave.
func (c *simClient) draw(o Options) byz.ClientEntry {
	var choices []byz.ClientEntry
	for _, e := range byz.ClientTable {
		if contains(o.Strategies, e.Name) {
			choices = append(choices, e)
		}
	}
	if len(choices) == 0 {
		choices = byz.ClientTable
	}
	e := choices[c.rand.Intn(len(choices))]
	if contains(o.Leave, clientsPart) {
		return byz.ClientEntry{Name: "honest", Make: func(*rng.Source) byz.ClientStrategy { return honestClient{} }}
	}
	if o.client != nil {
		e.Make = func(*rng.Source) byz.ClientStrategy { return o.client }
	}
	return e
}

// sign signs what a faulty client makes and enters it into the ledger.
func (c *simClient) sign(key auth.Signer) func(q *wire.Request) {
	domain := wire.ClientDomain(&c.w.swarm.membership)
	return func(q *wire.Request) {
		q.Raw = nil
		q.Sig = key.Sign(nil, q.AppendSigned(nil, domain))
		c.w.oracle.Signed(q)
	}
}

func (w *world) clientByID(id bft.ClientID) *simClient {
	for _, c := range w.clients {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (c *simClient) linked(id bft.ReplicaID, up bool) {
	if up {
		c.session.LinkUp(id, c.w.now, &c.out)
	} else {
		c.session.LinkDown(id, c.w.now, &c.out)
	}
	c.meet()
}

func (c *simClient) reply(from bft.ReplicaID, payload []byte) {
	r, err := wire.DecodeReply(payload)
	if err != nil {
		return
	}
	r.Client = c.id
	if h, ok := c.faulty.(byz.ReplyHearer); ok && !h.HearsReply(c.env, from, &r) {
		return
	}
	c.session.Reply(from, r, c.w.now, &c.out)
	c.meet()
}

// due is the client's alarm: time for a retry, a deadline, or a new operation.
func (c *simClient) due() {
	if c.w.now < c.alarm {
		return
	}
	c.alarm = client.Never
	c.session.Tick(c.w.now, &c.out)
	c.meet()
}

// work starts operations as far as the phase and the window allow.
func (c *simClient) work() {
	for c.budget > 0 && len(c.calls) < c.w.swarm.outstanding && c.w.now >= c.next {
		c.budget--
		k := c.w.workload.call(c)
		token, err := c.session.Submit(k.bytes, k.deadline)
		if err != nil {
			continue
		}
		k.token = token
		k.op.Call = c.w.now
		c.calls[token] = k
		c.order = append(c.order, k)
		if c.w.swarm.bundle == 1 || c.rand.Intn(3) == 0 {
			c.next = c.w.now + bft.Duration(c.rand.Between(0, c.w.swarm.thinkTime))
		}
	}
	c.session.Flush(c.w.now, &c.out)
}

// meet sends what the session wants to send and takes its results.
func (c *simClient) meet() {
	for {
		c.work()
		sends, results := c.out.Sends, c.out.Results
		c.out = client.Output{}
		for _, s := range sends {
			c.send(s)
		}
		for _, r := range results {
			c.finish(r)
		}
		if len(results) == 0 {
			break
		}
	}
	c.rearm()
}

func (c *simClient) rearm() {
	at := client.Never
	if d, ok := c.session.Deadline(); ok {
		at = d
	}
	if c.budget > 0 && len(c.calls) < c.w.swarm.outstanding {
		at = min(at, c.next)
	}
	at = max(at, c.w.now+bft.Microsecond)
	if at < client.Never && (c.alarm <= c.w.now || at < c.alarm) {
		c.alarm = at
		c.w.queue.push(event{at: at, what: clientDue, to: int32(c.end)})
	}
}

func (c *simClient) send(s client.Send) {
	k, payload := wire.Kind(s.Frame[4]), s.Frame[wire.FrameHeaderBytes:]
	q, err := wire.DecodeRequest(payload)
	if err != nil {
		c.w.oracle.Complain("client", "an honest session sends a malformed request: %v", err)
		return
	}
	c.account(&q)
	for to := range s.To.All() {
		if c.faulty != nil {
			copied := q
			c.faulty.Outgoing(c.env, to, k, &copied)
			continue
		}
		c.put(to, k, payload)
	}
}

func (c *simClient) put(to bft.ReplicaID, k wire.Kind, payload []byte) {
	if int(to) < c.w.n {
		if c.faulty != nil {
			c.w.presentsRequest(payload)
		}
		c.w.send(requestComes, c.end, int(to), k, payload)
	}
}

// account enters a request into the ledger and learns which number which call got.
func (c *simClient) account(q *wire.Request) {
	c.w.oracle.Signed(q)
	if q.IsOpen() {
		c.nonce = q.First
		return
	}
	if q.Session != c.number {
		c.number, c.highest = q.Session, 0
		if c.faulty == nil {
			c.w.oracle.Opened(c.id, c.nonce, q.Session)
		}
	}
	if q.First < c.highest {
		return // a resend
	}
	c.highest = q.First + uint64(len(q.Ops))
	for i, op := range q.Ops {
		for len(c.order) > 0 {
			k := c.order[0]
			c.order = c.order[1:]
			if _, open := c.calls[k.token]; open && bytes.Equal(k.bytes, op) {
				k.session, k.number = q.Session, q.First+uint64(i)
				break
			}
		}
	}
}

// finish ends a call.
func (c *simClient) finish(r client.Result) {
	k := c.calls[r.Token]
	if k == nil {
		c.w.oracle.Complain("client", "client %d gets a second result for call %d", c.index, r.Token)
		return
	}
	delete(c.calls, r.Token)
	k.op.Return = c.w.now
	if c.faulty != nil {
		return
	}
	if r.Err == nil {
		c.w.watch.counts.Operations++
		c.w.oracle.Accepted(c.id, k.session, k.number, r.Value)
	}
	c.w.workload.finish(k, r.Value, r.Err)
	c.w.stages.finished(c, k, r.Err)
}
