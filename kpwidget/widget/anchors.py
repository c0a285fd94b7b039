"""Anchors: finished images that come again while a person labels, with the labels hidden."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset
from ..dataset.passes import Opinion, add_pass
from ..store import attach_journal

#: Images that must have been labeled since: fewer, and the person remembers where the points were.
LEAST_SINCE: Final = 10
#: The first round; the next ones are "anchor 2", "anchor 3".
NAME: Final = "anchor"

_IS_ROUND: Final = re.compile(rf"{NAME}( \d+)?")
#: What was drawn and is no pass yet, by dataset: a cell that runs again goes on with it.
_SHEETS: WeakKeyDictionary[Dataset, Dataset] = WeakKeyDictionary()


class Anchors:
    """Which image comes again, and when; what is drawn on it becomes a pass of the dataset.

    It is drawn in `sheet`, a dataset of the same images with a journal of its own beside that of
    the labels, and is moved to ``dataset.passes`` when the image is left. All of it runs under the
    dataset's lock, which is that of the sheet as well.

    Parameters
    ----------
    dataset : Dataset
    share : float
        How many images come again for each that the person finishes.
    rng : numpy.random.Generator, int or None
    """

    def __init__(
        self, dataset: Dataset, share: float, rng: np.random.Generator | int | None
    ) -> None:
        if isinstance(share, bool) or not 0 < share <= 1:
            raise ValueError(f"anchors = {share!r}: expected a share from 0 (none) to 1, say 0.05")
        twice = [name for name, at in dataset._indices_of_file_name.items() if len(at) > 1]
        if twice:
            raise ValueError(
                f"anchors: passes find their images by file name, and {len(twice)} names stand for "
                f"several images, such as {twice[0]!r}; give each image a name of its own"
            )
        self._dataset = dataset
        self._share = share
        self._rng = np.random.default_rng(rng)
        self._counted: set[int] = set()
        self._n_shown = 0
        #: Images that were left as they came: not looked at.
        self._refused: set[int] = set()
        self.sheet = _SHEETS.get(dataset) or self._new_sheet()
        self.fit()

    def _new_sheet(self) -> Dataset:
        dataset = self._dataset
        sheet = dataset.start_pass(NAME)
        sheet.lock = sheet._history._lock = dataset.lock
        folder = self._folder()
        if folder is not None:
            attach_journal(sheet, folder)
        _SHEETS[dataset] = sheet
        return sheet

    def _folder(self) -> Path | None:
        """Where the journal of a sheet is: of these schemas, and of this person.

        What another draws in a kernel of their own is not taken for finished here.
        """
        dataset = self._dataset
        if dataset.recorder is None:
            return None
        by = [dataset.annotator, *([one.name, one.keypoints] for one in dataset.categories)]
        told_by = zlib.crc32(json.dumps(by).encode("utf-8", "surrogatepass"))
        folder: Path = dataset.recorder.journal.folder
        return folder / f"anchors-{told_by:08x}"

    def fit(self) -> bool:
        """Begin a new sheet if images, categories, file or person are others now.

        What was drawn on the old one by another schema stays in its journal alone; one that is only
        in another place is not left before it is empty. Returned is whether it is another one.
        """
        dataset = self._dataset
        sheet = _SHEETS.get(dataset, self.sheet)
        recorder = sheet.recorder
        is_there = (None if recorder is None else recorder.journal.folder) == self._folder()
        is_alike = len(sheet) == len(dataset) and sheet.categories == dataset.categories
        if not is_alike or not (is_there or len(sheet.instances)):
            sheet = self._new_sheet()
        is_other = sheet is not self.sheet
        self.sheet = sheet
        sheet.annotator = dataset.annotator
        return is_other

    def takes(self, index: int) -> bool:
        """Whether what was drawn on an image before a restart is still to come in."""
        is_drawn = len(self.sheet.images[index].instances) > 0
        return is_drawn or not self._rounds_of(index)

    def _rounds_of(self, index: int) -> dict[str, list[Opinion]]:
        """What was said of the instances of an image when it was labeled again, by round."""
        dataset = self._dataset
        found: dict[str, list[Opinion]] = {}
        for uid in dataset._table.uids(dataset._table.rows_of_image[index]):
            for name, opinion in dataset._passes.get(uid, {}).items():
                if _IS_ROUND.fullmatch(name):
                    found.setdefault(name, []).append(opinion)
        return found

    def pick(self, left: int, wanted: int, held: Collection[int] = ()) -> int | None:
        """The image that is to come before the one that is wanted, or None.

        Parameters
        ----------
        left, wanted : int
            Indices. An image that was finished counts once, when it is left, and not as long as
            there is none that could come again.
        held : collection of int
            What other annotators of the dataset show again.
        """
        if left in self._counted:
            return None
        known = self._candidates()
        if not known[left]:
            return None
        drawn = (instance.image.index for instance in self.sheet.instances)  # and no pass yet
        known[[left, wanted, *self._refused, *self._last_labeled(), *held, *drawn]] = False
        candidates = np.flatnonzero(known)
        if not len(candidates):
            return None
        self._counted.add(left)
        # What is owed is the chance: the share comes out, and nobody can count to the next one.
        if self._rng.random() >= self._share * len(self._counted) - self._n_shown:
            return None
        n_rounds = np.array([len(self._rounds_of(i)) for i in candidates.tolist()])
        self._n_shown += 1
        return int(self._rng.choice(candidates[n_rounds == n_rounds.min()]))

    def _candidates(self) -> NDArray[np.bool_]:
        """Of each image whether this person has labeled and finished it, alone."""
        dataset = self._dataset
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        of = table.column("image", rows)
        is_done = np.array([state.is_done for state in dataset._images], np.bool_)
        is_own = table.column("annotator", rows) == dataset.annotator
        is_own &= (table.column("is_finished", rows) | is_done[of]) & (table.n_labeled_of(rows) > 0)
        n_all, n_own = (np.bincount(some, minlength=len(dataset)) for some in (of, of[is_own]))
        found: NDArray[np.bool_] = (n_all > 0) & (n_own == n_all)
        return found

    def _last_labeled(self) -> list[int]:
        """The images that were edited last, as many as must lie between."""
        steps = reversed(self._dataset._history.steps())
        images = dict.fromkeys(step.image for step in steps if step.image is not None)
        return [image for image in images if image >= 0][:LEAST_SINCE]

    def bring_in(self, left: int | None = None, held: Collection[int] = ()) -> None:
        """Make what was drawn a pass of the dataset, and the sheet empty.

        Parameters
        ----------
        left : int, optional
            The image that was shown: without labels it counts as not looked at.
        held : collection of int
            Images on which others still draw.
        """
        sheet = self.sheet
        drawn = sorted({instance.image.index for instance in sheet.instances}.difference(held))
        if left is not None and left not in drawn:
            self._refused.add(left)
        if self._dataset._history._open is not None:
            return  # the pass might be taken back with the transaction, and the drawing be lost
        for index in drawn:
            if self._is_in(index):
                continue
            rounds = (f"{NAME} {n}" if n > 1 else NAME for n in itertools.count(1))
            taken = self._rounds_of(index)
            name = next(name for name in rounds if name not in taken)
            add_pass(self._dataset, sheet, name, None, images=[index])
        with sheet.transaction("wipe"):
            for index in drawn:
                for instance in list(sheet.images[index].instances):
                    instance.remove()
            for image in sheet.images if sheet.n_done else ():
                if image.index not in held:
                    image.set_status("unlabeled")

    def _is_in(self, index: int) -> bool:
        """Whether what was drawn is a pass already: the kernel ended before the sheet was empty."""
        return any(
            np.array_equal(one.keypoints, opinion.keypoints(one.category.keypoints), equal_nan=True)
            for one in self.sheet.images[index].instances
            for opinions in self._rounds_of(index).values()
            for opinion in opinions
        )
