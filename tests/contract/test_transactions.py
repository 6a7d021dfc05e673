"""A transaction is one, whatever is asked in its midst: it holds its lock to its end, and is undone as a whole."""

from __future__ import annotations

import pytest

from entropic import key

ONE = {"n": 1, "dt": 0.5}


class Regret(Exception):
    pass


def test_what_is_changed_and_read_in_a_transaction_is_undone_as_a_whole(store):
    store.run(ONE)
    context = store._context

    def work(connection):
        context.ledger.lock(connection, key(ONE))
        context.rows.delete(connection, key(ONE))
        assert context.rows.read_within(connection, key(ONE)) is None, "it sees its own change"
        context.ledger.lock(connection, key(ONE))
        assert context.rows.read_within(connection, key(ONE)) is None, "also after another look"
        raise Regret

    with pytest.raises(Regret):
        context.database.transact(work)
    assert store.retrieve(ONE) is not None


def test_a_transaction_keeps_to_one_session(store):
    context = store._context
    store.run(ONE)

    def work(connection):
        context.ledger.lock(connection, key(ONE))
        first = connection._raw
        context.ledger.lock(connection, key(ONE))
        context.rows.read_within(connection, key(ONE))
        return connection.in_transaction, connection._raw is first

    assert context.database.transact(work) == (True, True)


def test_a_call_of_its_own_after_a_transaction_is_none_of_it(store):
    context = store._context
    store.run(ONE)
    with pytest.raises(Regret):
        context.database.transact(lambda connection: (_ for _ in ()).throw(Regret))
    assert not context.database.connection().in_transaction
    assert store.retrieve(ONE).n == 1
