package vectors

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/kv"
)

// call is what the store may know of the world, which it does not use.
var call = app.Call{}

// kvFile holds operations and what a store answers to them, in order.
func kvFile(t *testing.T, w *world) *file {
	f := &file{About: "Operations of the key-value store, each followed by the result that a store gives which executed those before it."}
	store := kv.New()
	do := func(name string, op []byte) {
		f.add(t, w, name, "kv_operation", op)
		result, _ := store.Execute(call, op).Bytes()
		f.add(t, w, "answer: "+name, "kv_result", result)
	}
	key := []byte("signal/17")
	do("a key that is not there", kv.Get(key))
	do("set it", kv.Put(key, []byte("green")))
	do("read it", kv.Get(key))
	do("change it if it is green", kv.CAS(key, []byte("green"), []byte("red")))
	do("change it if it is still green", kv.CAS(key, []byte("green"), []byte("blue")))
	do("set a key if it is absent", kv.CAS([]byte("signal/18"), nil, []byte{0, 255}))
	do("change a key that is absent", kv.CAS([]byte("signal/19"), []byte{}, []byte("x")))
	do("list what begins with signal/", kv.ScanPrefix([]byte("signal/"), nil, 10))
	do("list one of two", kv.ScanPrefix([]byte("signal/"), []byte("signal/"), 1))
	do("remove it", kv.Delete(key))
	do("remove it again", kv.Delete(key))
	do("a key of 1,025 bytes", kv.Put(bytes.Repeat([]byte{'k'}, 1025), nil))
	f.add(t, w, "no room in the page of the key", "kv_result", []byte{byte(kv.Full)})
	f.add(t, w, "not an operation", "kv_result", []byte{byte(kv.Malformed)})
	f.refuse("empty", "kv_operation", nil)
	f.refuse("kind 6", "kv_operation", []byte{6})
	f.refuse("a trailing byte", "kv_operation", append(kv.Get(key), 0))
	f.refuse("a scan of 1,001", "kv_operation", append(kv.Scan(nil, 0)[:9], 0xe9, 3, 0, 0))
	f.refuse("an old value where none is expected", "kv_operation", append([]byte{4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'x'}, 0, 0, 0, 0))
	f.refuse("code 8", "kv_result", []byte{8})
	f.refuse("done, and a byte more", "kv_result", []byte{0, 0})
	f.refuse("present is 2", "kv_result", []byte{3, 2, 0, 0, 0, 0})
	return f
}
