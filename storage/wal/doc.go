// Package wal is the durable log of a replica: records in segments that are written with zeros
// and synced before use, overwritten in place, and recycled. One sync makes everything durable
// that was appended since the last (group commit).
//
// A Log owns the files "owner" and "seg-*" of its directory and the directory's lock. All
// methods are called from one goroutine, the persist stage; they block on the device. It never
// retries after a device failed, never shortens a log that was damaged, and never reads
// what a record means beyond its kind and slot.
//
// # Format
//
// Integers are little endian. A segment has a generation: 1 for the first segment ever used, one
// more with every further one, also when the file is used again. A position is
// generation<<32 | offset; positions grow along the log and never come twice.
//
//	segment header, 64 bytes            record, 40 bytes and its data, padded to 8
//	 0 magic "themislg"                  0 CRC-32C of the bytes from 4 on, seeded with the owner's
//	 8 version, owner's CRC (u32 each)   4 length of the data
//	16 generation                        8 position
//	24 oldest generation in use         16 durable: everything before it was synced already
//	32 size of the file                 24 slot
//	40 zeros                            32 CRC of the record before (the chain)
//	60 CRC-32C                          36 kind, three zeros
//
// Three kinds are the log's own: seal ends a segment (its slot is the next generation), cut
// says which generation is the oldest one in use, mark ends a clean stop.
//
// # Rules
//
//  1. A segment's header is synced before a record is written into it, a segment's seal is
//     written after the next header was synced. So a seal without a successor is damage.
//  2. A segment is used again only after the cut record that freed it, and with it the records
//     carried forward from it, are synced.
//  3. The log ends where the chain ends. If any later record says that this place was durable,
//     the place is damaged: storage.ErrCorrupt. Else no sync covered it: a torn tail. Open
//     overwrites a torn tail with zeros, so that none of it can appear again.
//  4. Old contents of a segment cannot be taken for new: the position holds the generation, the
//     checksum covers the position and the owner.
//
// Damage to the last synced batch alone looks like a torn tail, as in every log that writes a
// batch once; a clean stop adds a mark behind it.
package wal
