"""Export and import, in dictionaries."""

import copy as copying
from collections.abc import AsyncGenerator, Sequence

from ragrid.services.memory.changes import MemoryCopy, Scope, is_expired
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.deciding import (
    Verdict,
    decide_memory,
    is_new_message,
    is_new_settings,
    is_new_state,
)
from ragrid.services.memory.exchange.importing import Ledger
from ragrid.services.memory.exchange.lines import (
    Copy,
    MessageCopy,
    SettingsCopy,
    Step,
    memory_line,
    namespace_lines,
    session_line,
)
from ragrid.services.memory.inmemory.sessions import InMemorySessions, Session
from ragrid.services.memory.namespaces import PutNamespace
from ragrid.services.memory.protocol.exchange import Exported
from ragrid.services.memory.working_state import is_state_visible, rendered_state


class InMemoryExchange(InMemorySessions):
    """See protocol/exchange.py."""

    async def export(self, tenant: str, namespace: str | None, *, now_us: int) -> AsyncGenerator[Exported, None]:
        """See Exchange."""
        scopes = {scope for scope in self.spaces if scope.tenant == tenant}
        lines = [
            line
            for scope in sorted(scopes, key=lambda one: one.namespace)
            if namespace is None or scope.namespace == namespace
            for line in (
                *namespace_lines(self.spaces[scope]),
                *self._versions(scope, now_us),
                *self._of_sessions(scope, now_us),
            )
        ]
        for line in lines:
            yield Exported(1, line)

    async def take(self, copies: Sequence[Copy], *, now_us: int, is_atomic: bool) -> tuple[Verdict, ...]:
        """See Exchange."""
        before = (
            copying.deepcopy((self.rows, self.events, self.spaces, self._sessions, self.seq, self.embeddings))
            if is_atomic
            else None
        )
        ledger = Ledger()
        for one in copies:
            try:
                ledger.took(one, is_new=self._take(one, ledger.previous, now_us))
            except InvalidBodyError as error:
                ledger.refused(error)
        if before is not None and ledger.has_faults:
            self.rows, self.events, self.spaces, self._sessions, self.seq, self.embeddings = before
        return ledger.verdicts

    def _take(self, one: Copy, previous: Copy | None, now_us: int) -> bool:
        if isinstance(one, MemoryCopy):
            versions = decide_memory(self, one, previous, seq=self.seq + 1, now_us=now_us)
            for version in versions:
                self.apply(one.scope, version)
            return bool(versions)
        if isinstance(one, SettingsCopy):
            return self._take_settings(one)
        session = self._sessions.get((one.scope, one.session_id), Session())
        if isinstance(one, MessageCopy):
            here = next((each.doc for each in session.messages if each.index == one.message.index), None)
            is_new = is_new_message(session.last_index, here, one)
            if is_new:
                session.messages.append(one.message)
                session.last_index = one.message.index
        else:
            is_new = is_new_state(session.state, one)
            if is_new:
                session.state = one.state
        if is_new:
            session.is_live = True
            self.make_namespace(one.scope, now_us)
            self._sessions[one.scope, one.session_id] = session
        return is_new

    def _take_settings(self, one: SettingsCopy) -> bool:
        current = self.spaces.get(one.scope)
        if not is_new_settings(current, one):
            return False
        self.set_namespace(PutNamespace(one.scope, one.actor, one.at_us, one.settings))
        return True

    def _versions(self, scope: Scope, now_us: int) -> list[bytes]:
        found: list[tuple[tuple[int, int], bytes]] = []
        for (owner, memory_id), row in self.rows.items():
            if owner != scope or row.stored.is_erased or is_expired(row.stored, now_us):
                continue
            events = self.events[owner, memory_id]
            brought = self.embeddings.carried(self.spaces[scope].room, row.stored.position)
            erased = max((one.seq for one in events if one.op in {"expire", "purge"}), default=0)
            found += [
                (
                    (row.stored.position, one.seq),
                    memory_line(
                        scope,
                        memory_id,
                        Step(one.op, one.version, one.at_us, one.actor, one.doc),
                        brought if one.version == row.stored.version else None,
                    ),
                )
                for one in events
                if one.seq > erased
            ]
        return [line for _, line in sorted(found)]

    def _of_sessions(self, scope: Scope, now_us: int) -> list[bytes]:
        lines: list[bytes] = []
        for (owner, session_id), session in sorted(self._sessions.items(), key=lambda item: item[0][1]):
            if owner != scope or not session.is_live:
                continue
            lines += [
                session_line("message", one.doc)
                for one in session.messages
                if one.expires_us is None or one.expires_us > now_us
            ]
            if is_state_visible(session.state, now_us):
                lines.append(session_line("state", rendered_state(session.state, scope, session_id)))
        return lines
