"""A session against replicas under the test's command: what it sends, and what it believes."""

import random
import types
import unittest

from themis import keys, session, wire

CLUSTER = types.SimpleNamespace(n=4, f=1, cluster=bytes(16), epoch=0)


class Sessions(unittest.TestCase):
    def setUp(self):
        self.s = session.Session(CLUSTER, keys.Key.from_seed(bytes(32)), random.Random(1))
        for i in range(4):
            self.s.link_up(i, 0.0)

    def sent(self):
        """What was sent since the last look: (replicas, kind, request)."""
        out = []
        for to, frame in self.s.out:
            kind, payload = wire.parse_frame(frame, wire.CLIENT_FRAME_BYTES_MAX)
            out.append((set(to), kind, wire.decode_request(payload)))
        self.s.out.clear()
        return out

    def say(self, replica, number, result=b"", status=wire.OK, number_of_session=None, view=0, now=0.0):
        of = self.s.number if number_of_session is None else number_of_session
        self.s.reply(replica, {"session": of, "number": number, "view": view, "status": status, "result": result}, now)

    def open(self, slot=7):
        """Has the session opened, with one operation that waits for its answer."""
        call = self.s.submit(b"op", 10.0, 0.0)
        nonce = self.sent()[0][2]["first"]
        for i in (0, 1):
            self.say(i, nonce, wire.u64(slot), number_of_session=0)
        return call

    def test_open_goes_to_all(self):
        self.s.submit(b"op", 10.0, 0.0)
        ((to, kind, r),) = self.sent()
        self.assertEqual((to, kind, r["flags"], r["session"]), ({0, 1, 2, 3}, wire.RETRY, wire.FLAG_OPEN, 0))
        key = keys.Key.from_seed(bytes(32))
        self.assertTrue(keys.verify_ed25519(key.id, self.s.tag + wire.encode_unsigned_request(r), r["sig"]))

    def test_operation_goes_to_the_primary(self):
        self.open()
        ((to, kind, r),) = self.sent()
        self.assertEqual((to, kind, r["session"], r["first"], r["done"], r["ops"]), ({0}, wire.REQUEST, 7, 1, 1, [b"op"]))

    def test_one_replica_is_not_believed(self):
        call = self.open()
        for _ in range(5):
            self.say(3, 1, b"lie")
        self.assertFalse(call.ended)
        self.say(0, 1, b"truth")
        self.assertFalse(call.ended)
        self.say(1, 1, b"truth")
        self.assertEqual(call.result, b"truth")
        self.assertEqual(self.s.deviations, [0, 0, 0, 1])

    def test_one_replica_cannot_open_or_refuse(self):
        call = self.s.submit(b"op", 10.0, 0.0)
        nonce = self.sent()[0][2]["first"]
        for status, result in ((wire.OK, wire.u64(99)), (wire.REFUSED, b"")):
            for _ in range(2):
                self.say(2, nonce, result, status, number_of_session=0)
        self.assertEqual((self.s.number, call.ended), (0, False))

    def test_a_wrong_clock_is_put_right(self):
        self.s.submit(b"op", 100.0, 0.0)
        nonce, right = self.sent()[0][2]["first"], 1_700_000_000 * 10**9
        self.assertLess(nonce, 1 << 37)
        for i in (0, 1):
            self.say(i, nonce, wire.u64(right), wire.CLOSED, number_of_session=0)
        self.s.tick(1.0)
        again = self.sent()[0][2]["first"]
        self.assertLess(abs((again >> 37 << 36) - right), 70 * 10**9)

    def test_wrong_nonce_opens_nothing(self):
        self.s.submit(b"op", 10.0, 0.0)
        nonce = self.sent()[0][2]["first"]
        for i in range(4):
            self.say(i, nonce ^ 1, wire.u64(7), number_of_session=0)
        self.assertEqual(self.s.number, 0)

    def test_late_and_strange_replies_change_nothing(self):
        call = self.open()
        for i in (0, 1):
            self.say(i, 1, b"truth")
        for i in range(4):
            self.say(i, 1, b"other")
            self.say(i, 500, b"other")
            self.say(i, 1, b"other", number_of_session=12)
        self.assertEqual((call.result, self.s.done, self.s.next), (b"truth", 2, 2))

    def test_resend_is_the_same_request_to_all(self):
        self.open()
        first = self.sent()[0][2]
        self.s.tick(0.21)
        ((to, kind, again),) = self.sent()
        self.assertEqual((to, kind, again), ({0, 1, 2, 3}, wire.RETRY, first))
        self.assertGreater(self.s.wake(), 0.21 + 0.1)

    def test_timeouts_double_up_to_their_end(self):
        self.open()
        self.sent()
        pauses, now = [], 0.0
        for _ in range(8):
            now, before = self.s.wake(), now
            pauses.append(now - before)
            self.s.tick(now)
        self.assertLess(pauses[0], 0.21)
        self.assertTrue(all(1.4 < p < 2.01 for p in pauses[-3:]), pauses)

    def test_deadline_ends_a_call_and_keeps_its_number(self):
        call = self.open()
        self.s.tick(10.1)
        self.assertIsInstance(call.error, session.OutcomeUnknown)
        self.sent()
        other = self.s.submit(b"other", 20.0, 10.2)
        ((_, _, r),) = self.sent()
        self.assertEqual((r["first"], r["done"]), (2, 1))
        for i in (0, 1):
            self.say(i, 2, b"answer", now=10.3)
        self.assertEqual((other.result, self.s.done), (b"answer", 1))
        for i in (0, 1):
            self.say(i, 1, b"late", now=10.4)
        self.assertIsInstance(call.error, session.OutcomeUnknown)
        self.assertEqual(self.s.done, 3)

    def test_deadline_before_anything_was_sent(self):
        s = session.Session(CLUSTER, keys.Key.from_seed(bytes(32)), random.Random(1))
        call = s.submit(b"op", 1.0, 0.0)
        s.tick(1.1)
        self.assertIsInstance(call.error, session.NoQuorum)
        self.assertEqual(s.out, [])

    def test_closed_session_is_not_repeated(self):
        """One replica cannot close it; f+1 can, and then the outcome is unknown and the next opens."""
        call = self.open()
        self.sent()
        self.say(2, 1, status=wire.CLOSED)
        self.assertFalse(call.ended)
        self.say(3, 1, status=wire.CLOSED)
        self.assertIsInstance(call.error, session.OutcomeUnknown)
        self.assertEqual(self.sent(), [])
        self.s.submit(b"next", 10.0, 1.0)
        ((_, kind, r),) = self.sent()
        self.assertEqual((kind, r["flags"]), (wire.RETRY, wire.FLAG_OPEN))
        for i in (0, 1):
            self.say(i, r["first"], wire.u64(7), number_of_session=0, now=1.0)
        self.assertEqual(self.s.number, 0, "an old session was opened again")

    def test_view_needs_two(self):
        self.open()
        self.sent()
        for _ in range(3):
            self.say(3, 1, b"lie", view=wire.VIEW_MAX)
        self.assertEqual((self.s.view, self.sent()), (0, []))
        self.say(1, 500, view=2)
        self.assertEqual(self.s.view, 2)
        ((to, kind, _),) = self.sent()
        self.assertEqual((to, kind), ({0, 1, 2, 3}, wire.RETRY), "it went to a primary of the past")

    def test_one_astray_misleads_once(self):
        self.open()
        self.say(3, 1, b"truth", view=wire.VIEW_MAX)  # a liar
        self.say(2, 1, b"truth", view=2)  # out alone
        self.sent()
        for number, first in ((2, 2), (3, 0)):
            self.s.submit(b"op", 10.0, 0.0)
            self.assertEqual(self.sent()[0][0], {first})
            if number == 2:
                self.s.tick(5.0)  # nobody orders it until all have it
            for i in (0, 1):
                self.say(i, number, b"truth")
            self.sent()

    def test_broken_link_to_the_primary(self):
        self.open()
        self.sent()
        self.s.link_down(0, 0.0)
        ((to, kind, _),) = self.sent()
        self.assertEqual((to, kind), ({1, 2, 3}, wire.RETRY))
        self.s.link_up(0, 0.1)
        ((to, kind, _),) = self.sent()
        self.assertEqual((to, kind), ({0}, wire.RETRY))

    def test_window(self):
        self.open()
        for _ in range(300):
            self.s.submit(b"op", 10.0, 0.0)
        self.assertEqual((self.s.next, len(self.s.pending)), (257, 256))
        self.sent()
        for i in (0, 1):
            self.say(i, 1, b"")
        ((_, _, r),) = self.sent()
        self.assertEqual((r["first"], r["done"]), (257, 2))

    def test_dropped_and_too_large(self):
        call = self.open()
        for i in (2, 3):
            self.say(i, 1, status=wire.DROPPED)
        self.assertIsInstance(call.error, session.ResultDropped)
        with self.assertRaises(session.TooLarge):
            self.s.submit(bytes(wire.OP_BYTES_MAX + 1), 1.0, 0.0)


if __name__ == "__main__":
    unittest.main()
