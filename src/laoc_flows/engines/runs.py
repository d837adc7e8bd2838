"""A run on its way from job to job: what is in memory, and what the next job gets."""

from __future__ import annotations

from collections.abc import Collection

from laoc_flows.blobs import BlobRef, get_blob, put_blob
from laoc_flows.engines.clock import JobClock
from laoc_flows.engines.controller import Controller, Progress
from laoc_flows.engines.dynamics import MDState
from laoc_flows.engines.recording import Recording
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import current_store, scratch_directory
from laoc_flows.schemas.base import Model
from laoc_flows.settings import Settings

_STATE_TYPE = "application/x-npz"
_HANDOVER = 4 * 3600.0
"""Time after which a run goes on in another job where nothing else limits it: a kill costs no more than that [s]."""


class Checkpoint(Model):
    """Everything that a run hands on to its next job."""

    progress: Progress
    state: BlobRef
    parts: tuple[BlobRef, ...]
    n_steps: int


class Run:
    """A run in memory: from its start, or from where an earlier job has stopped.

    Parameters
    ----------
    controller : Controller
        Protocol and engine.
    start : BlobRef
        One frame, extended XYZ.
    checkpoint : Checkpoint or None
        Where an earlier job has stopped.
    veto : str
        Why the run is not worth its time; it is then over before it begins.
    kept_stages : collection of int, optional
        Stages whose frames are kept; all by default.
    """

    def __init__(
        self,
        controller: Controller,
        start: BlobRef,
        checkpoint: Checkpoint | None,
        veto: str = "",
        kept_stages: Collection[int] | None = None,
    ) -> None:
        store = current_store()
        self.controller = controller
        self.log = b""
        if checkpoint is None:
            atoms = decode_frames(get_blob(store, start))[0]
            self.progress, self.state, self.n_steps = Progress(failure=veto), controller.start(atoms), 0
            self.parts: tuple[BlobRef, ...] = ()
            self.recording = Recording(atoms.get_chemical_symbols(), kept_stages)
        else:
            self.progress, self.n_steps, self.parts = (
                checkpoint.progress,
                checkpoint.n_steps,
                checkpoint.parts,
            )
            self.state = MDState.unpack(get_blob(store, checkpoint.state))
            self.recording = Recording.unpack([get_blob(store, part) for part in self.parts], kept_stages)
        self._mark = self.recording.mark()

    @property
    def failed(self) -> bool:
        """Whether the engine has failed it; a veto and a cell that never melts are no failures of an engine."""
        progress = self.progress
        if not progress.failure:
            return False
        # Without a record it was the relaxation, or a veto, before which nothing is relaxed.
        return progress.records[-1].status == "stopped" if progress.records else progress.relaxed

    def go(self, budget: int) -> None:
        """Run segments until the protocol is over, or the steps of this job are."""
        end = self.n_steps + budget
        clock = JobClock(Settings.load())
        clock.check_begin()
        limit = clock.left(_HANDOVER)
        first = True
        while not self.controller.done(self.progress) and self.n_steps < end:
            left = min(clock.left(_HANDOVER), limit - clock.elapsed)
            if not first and left < limit / 2.0:
                # A segment that is begun late would be stopped before it is worth its start.
                break
            first = False
            with scratch_directory("md") as directory:
                step = self.controller.advance(
                    self.progress, self.state, self.recording, end - self.n_steps, directory, max(left, 1.0)
                )
            relaxing = not self.progress.relaxed
            self.progress, self.state, self.log = step.progress, step.state, step.log
            self.n_steps += 0 if relaxing else step.made
            if step.made < step.asked or self._too_little(end):
                break

    def _too_little(self, end: int) -> bool:
        """Whether what is left of the budget is less than the time between two frames."""
        if self.controller.done(self.progress):
            return True
        stage = self.controller.stages[self.progress.stage]
        return end - self.n_steps < self.controller.frame_every(stage)

    def checkpoint(self) -> Checkpoint:
        """What the next job needs; the frames of this one are stored once."""
        store = current_store()
        part = put_blob(store, self.recording.since(self._mark).pack(), _STATE_TYPE)
        return Checkpoint(
            progress=self.progress,
            state=put_blob(store, self.state.pack(), _STATE_TYPE),
            parts=(*self.parts, part),
            n_steps=self.n_steps,
        )
