"""PostgreSQL on a named volume: transactions go on, one stays open over ten moves, and no money is lost."""

import random
import threading
import time

from common import expect, move, start
from psql_client import Psql
from shell import Failed, wait_until

MOVES = 10
ACCOUNTS = 50
TELLERS = 4
FORTUNE = 1000  # of each account


class Teller(threading.Thread):
    """Moves money between accounts, one transaction after the other, on one connection."""

    def __init__(self, client, seed):
        super().__init__(daemon=True)
        self.client, self.random = client, random.Random(seed)
        self.done, self.cause, self.stopping = 0, None, threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.transfer()
                self.done += 1
        except RuntimeError as e:
            self.cause = str(e)

    def transfer(self):
        # In the order of the accounts, so that two tellers never wait for each other in a circle.
        first, second = sorted(self.random.sample(range(ACCOUNTS), 2))
        amount = self.random.randint(-20, 20)
        self.client.ask("BEGIN")
        self.client.ask(f"UPDATE account SET balance = balance - {amount} WHERE id = {first}")
        time.sleep(0.005)  # with the transaction open
        self.client.ask(f"UPDATE account SET balance = balance + {amount} WHERE id = {second}")
        self.client.ask("COMMIT")

    def finish(self):
        self.stopping.set()
        self.join(30)
        if self.is_alive() or self.cause:
            raise Failed(f"a teller after {self.done} transactions: {self.cause or 'hangs'}")


def connect(tb):
    client = Psql(tb.client, tb.a.ip, 5432)
    tb.on_cleanup(client.close)
    return client


def is_up(tb):
    client = Psql(tb.client, tb.a.ip, 5432)
    try:
        return client.ask("SELECT 1") == "1"
    except RuntimeError:
        return False
    finally:
        client.close()


def scenario_postgres_transactions(tb):
    tb.load("postgres")
    tb.on_cleanup(lambda: [h.docker("volume", "rm", "-f", "pgdata", check=False) for h in tb.hosts])
    start(tb)
    tb.run(tb.a, "db", "postgres", options=["-p", "5432:5432", "-v", "pgdata:/var/lib/postgresql/data", "--shm-size", "64m"])
    wait_until(lambda: is_up(tb), 30, "postgres answers", pause=0.3)
    auditor = connect(tb)
    auditor.ask("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
    auditor.ask(f"INSERT INTO account SELECT i, {FORTUNE} FROM generate_series(0, {ACCOUNTS + 1}) i")
    sums = f"SELECT sum(balance), count(*) FROM account WHERE id < {ACCOUNTS}"
    right = f"{ACCOUNTS * FORTUNE}|{ACCOUNTS}"

    slow = connect(tb)  # its transaction is open all the time
    slow.ask("BEGIN")
    tellers = [Teller(connect(tb), seed) for seed in range(TELLERS)]
    for teller in tellers:
        teller.start()
    source, downtimes = tb.a, []
    for number in range(1, MOVES + 1):
        slow.ask(f"UPDATE account SET balance = balance - {number} WHERE id = {ACCOUNTS}")
        slow.ask(f"UPDATE account SET balance = balance + {number} WHERE id = {ACCOUNTS + 1}")
        target = tb.peer_of(source)
        downtimes.append(move(source, target, "db")["downtime_ms"])
        source = target
        expect(f"sum and count after move {number}", auditor.ask(sums), right)
        expect("on a new connection", connect(tb).ask(sums), right)
        expect("what is not committed", auditor.ask(f"SELECT balance FROM account WHERE id = {ACCOUNTS}"), str(FORTUNE))
    for teller in tellers:
        teller.finish()
    slow.ask("COMMIT")
    moved = MOVES * (MOVES + 1) // 2
    balances = auditor.ask(f"SELECT balance FROM account WHERE id >= {ACCOUNTS} ORDER BY id")
    expect("the transaction of ten moves", balances, f"{FORTUNE - moved}\n{FORTUNE + moved}")
    expect("sum and count at the end", auditor.ask(sums), right)
    print(f"{sum(t.done for t in tellers)} transactions of {TELLERS} tellers in {MOVES} moves, and one over all of them; "
          f"downtimes in ms: {' '.join(f'{d:.0f}' for d in downtimes)}")


scenario_postgres_transactions.slow = True
