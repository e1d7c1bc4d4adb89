"""PostgreSQL on this machine: the programs of a wheel, over TCP with scram, on loopback."""

from __future__ import annotations

import secrets
import shutil
import signal
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from conf.settings import PostgresSettings, SettingsError
from infra.errors import ServiceError
from infra.local.places import Places, server_account
from infra.local.process import end_now, is_alive, processes_where
from infra.local.service import Service
from infra.local.tool import run_tool
from infra.postgres.roles import connection_limit, logins

# Only our roles may come in, over TCP and with a password; the superuser has no way in at all.
ACCESS_RULES = """\
host all {users} 127.0.0.0/8 scram-sha-256
host all {users} ::1/128 scram-sha-256
"""


class PostgresService(Service[PostgresSettings]):
    """The serving database; state below `<var>/postgres` (see `places` for root)."""

    name = branch = "postgres"
    ports = (("port", "Postgres"),)
    stop_signal = signal.SIGINT  # open transactions are rolled back, the committed ones kept

    @property
    def external(self) -> bool:
        """`postgres.local = false` names a server of somebody else."""
        return not self.conf.local

    @property
    def address(self) -> str:
        """Host, port and database."""
        return f"{self.conf.host}:{self.conf.port}/{self.conf.database}"

    @property
    def places(self) -> Places:
        """Its folders, and the user that runs it."""
        return Places(self.settings.var_dir / "postgres", server_account())

    def launch(self) -> None:
        """Make the data folder the first time, bring roles and passwords in line, then start."""
        places = self.places
        data = places.root() / "data"
        programs = places.programs()
        if not data.is_dir():
            self.report("postgres: making its data folder")
            self._make_data_folder(programs, data)
        end_orphans(data)
        drop_stale_lock(data)
        self._write_access_rules(data)
        self._single_user(programs, data, self._roles_sql())
        self.report("postgres: starting")
        self.daemon.spawn(self.command(programs, data), cwd=data, account=places.account)

    def _make_data_folder(self, programs: Path, data: Path) -> None:
        """Under another name until it is whole, so an interrupted start leaves nothing half."""
        places = self.places
        scratch = data.with_name("data.partial")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        places.own(scratch)
        # Without a password for it, and with the rules below, nobody can log in as superuser.
        command = [str(programs / "initdb"), "-D", str(scratch), "-U", "postgres", "-A", "trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        run_tool(
            command,
            "Making the Postgres data folder",
            self.cancel,
            account=places.account,
            cwd=scratch,
        )
        role, base = sql.Identifier(self.conf.user), sql.Identifier(self.conf.database)
        create = [
            sql.SQL("CREATE ROLE {} LOGIN").format(role),
            sql.SQL("CREATE DATABASE {} OWNER {}").format(base, role),
        ]
        self._single_user(programs, scratch, create)
        scratch.rename(data)

    def _write_access_rules(self, data: Path) -> None:
        users = ",".join(f'"{name}"' for name, _ in logins(self.settings).values())
        (data / "pg_hba.conf").write_text(ACCESS_RULES.format(users=users))

    def _roles_sql(self) -> list[sql.Composed]:
        """All roles and their passwords; `roles` grants their rights with the tables."""
        # Asked first: in this mode an error ends the server, also one that a block would catch.
        make = sql.SQL(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {}) "
            "THEN CREATE ROLE {} LOGIN; END IF; END $$"
        )
        statements = []
        # The owner last: its password holds where another role has its name.
        for role, (name, secret) in reversed(logins(self.settings).items()):
            password, limit = secret.get_secret_value() if secret else None, connection_limit(role)
            change = sql.SQL("ALTER ROLE {} CONNECTION LIMIT {} PASSWORD {}")
            statements.append(make.format(name, sql.Identifier(name)))
            statements.append(change.format(sql.Identifier(name), limit, password))
        return statements

    def _single_user(self, programs: Path, data: Path, statements: list[sql.Composed]) -> None:
        """Run SQL as superuser before the server listens; a statement that fails ends it.

        The password is passed by standard input: a command line could be read by everybody.
        """
        places = self.places
        marker = secrets.token_hex(8)
        seen: list[str] = []
        text = "".join(f"{statement.as_string()}\n" for statement in statements)
        run_tool(
            [str(programs / "postgres"), "--single", "-D", str(data), "-c",
             "log_min_messages=error", "-c", "log_min_error_statement=panic",
             "-c", "exit_on_error=on", "postgres"],
            "Preparing the Postgres roles",
            self.cancel,
            stdin=f"{text}SELECT '{marker}'\n",
            account=places.account,
            cwd=data,
            on_line=seen.append,
        )  # fmt: skip
        if not any(marker in line for line in seen):
            raise ServiceError(
                f"Preparing the Postgres roles failed: {' '.join(seen)[-300:]} "
                "Run `storelake reset` to begin again."
            )

    def command(self, programs: Path, data: Path) -> list[str]:
        """The command line of the server; a commit is on disk when it returns."""
        options = {
            "listen_addresses": self.conf.host,
            "port": self.conf.port,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Short queries on small tables: compiling them costs more than it saves.
            "jit": "off",
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        for key, value in options.items():
            command += ["-c", f"{key}={value}"]
        return command

    def serves(self) -> bool:
        """Whether a query works with our password."""
        return not self.complaint()

    def complaint(self) -> str:
        """The reason of the server or its client; empty where a query works.

        Asked as the owner where its password is known, since a new server has no other role yet.
        """
        conf = self.conf.acting_as("owner") if self.conf.password else self.conf
        try:
            with psycopg.connect(conf.dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except (psycopg.Error, SettingsError) as error:
            return " ".join(str(error).split())
        return ""


def end_orphans(data: Path) -> None:
    """End the backends of a killed server that still hold its shared memory.

    They end by themselves as soon as they wait for anything, which a long query does late; until
    then Postgres refuses to start on these data.
    """
    folder = data.resolve()
    end_now(processes_where(lambda p: p.name().startswith("postgres") and Path(p.cwd()) == folder))


def drop_stale_lock(data: Path) -> None:
    """Remove the lock file of a killed server whose pid is a zombie's or an unrelated process's.

    Postgres would take that process for itself and refuse to start, as happens after the restart
    of a machine or a container, and as long as nobody has collected the killed one.
    """
    lock = data / "postmaster.pid"
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        holds = is_alive(process) and "postgres" in process.name()
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        return
    if not holds:
        lock.unlink()
