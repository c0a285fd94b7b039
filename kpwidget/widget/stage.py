"""The anywidget class: its traits and its messages, nothing else.

Every name that crosses the wire is written here and in ``js/src/model.ts``; a test compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anywidget
import ipywidgets
import traitlets as t

_STATIC = Path(__file__).parent / "static"

#: Kinds of custom messages, browser to Python and back.
MESSAGES_TO_PYTHON: Final = (
    "open",
    "hello",
    "bye",
    "edits",
    "viewport",
    "query",
    "pick",
    "want",
    "review",
)
MESSAGES_FROM_PYTHON: Final = (
    "welcome",
    "ack",
    "rejected",
    "painting",
    "picture",
    "notice",
    "tiles",
)

#: What an edit may do.
OPS: Final = (
    "point",
    "box",
    "pose",
    "repeat",
    "remove",
    "finish",
    "skip",
    "cursor",
    "status",
    "flags",
    "goto",
    "undo",
    "redo",
    "save",
    "refresh",
    "resolve",
    "decide",
    "repair",
)


def _bundle(name: str) -> str:
    path = _STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the browser part of kpwidget has not been built. "
            "Reinstall the package, or in a checkout run `make bundle`."
        )
    return path.read_text(encoding="utf-8")


class Bundled(anywidget.AnyWidget):
    """A widget whose browser half is in the bundle."""

    #: Height of the picture in CSS px.
    height = t.Int(600).tag(sync=True)

    @t.validate("height")
    def _check_height(self, proposal: Any) -> int:
        value = int(proposal["value"])
        if not 200 <= value <= 4000:
            raise t.TraitError(f"height: expected 200 to 4000 CSS px, got {value}")
        return value

    def __init__(self, **kwargs: Any) -> None:
        # Read when first used, so that `import kpwidget` works where the bundle is not built yet.
        type(self)._esm = _bundle("widget.js")
        type(self)._css = _bundle("widget.css")
        super().__init__(**kwargs)

    @t.observe("comm")
    def _keep_the_route(self, change: Any) -> None:
        """Let each message go to the subshell that it names.

        ipykernel 7.4 sends what comes for a comm to the subshell in whose context the kernel last
        published on it. Our threads publish in the context of whatever message came last; after
        a page reload its subshell is gone, and every message would be refused with an
        UnknownSubshellError.
        """
        if hasattr(change["new"], "_reply_subshell_for"):
            change["new"]._reply_subshell_for = None


class Stage(Bundled):
    """What is displayed: the picture with its layers, and the controls around it.

    The browser sends edits as custom messages, never by a trait: while the kernel is busy a trait
    keeps only its last value. Traits carry what a view must know to show and hit-test without a
    kernel. Nothing here writes a trait from the browser's side.
    """

    #: The current image with its instances, the cursor, what undo would do; replaced as a whole.
    scene = t.Dict().tag(sync=True)
    #: Keypoint names, edges, colours and sides of every category.
    categories: t.List[Any] = t.List().tag(sync=True)
    #: Of every category the mean pose of the dataset, in a box from (0, 0) to (1, 1); None where
    #: too few instances are labeled; empty where that is so of all.
    templates: t.List[Any] = t.List().tag(sync=True)
    #: Colours, radii and line widths in CSS px, the same for both painters.
    look = t.Dict().tag(sync=True)
    #: A still picture (WebP) for saved notebooks, HTML export and a kernel that is gone.
    poster = t.Bytes(b"").tag(sync=True)
    #: The first picture as it is encoded for its layer: a view shows it before Python has painted.
    #: Empty again when there is a poster, so that a saved notebook does not keep both.
    preview = t.Bytes(b"").tag(sync=True)
    #: What a viewer lists, and what was asked for; None for an annotator.
    browse = t.Dict(allow_none=True, default_value=None).tag(sync=True)
    #: The findings that a viewer walks through, of which it shows some; None without any.
    review = t.Dict(allow_none=True, default_value=None).tag(sync=True)
    #: The ipycanvas layers: image, detail, skeletons, active, and the source of pictures. Empty
    #: until a view asks for them, which by then shows `preview`: they would hold that up.
    canvases = t.List(t.Instance(ipywidgets.Widget)).tag(
        sync=True, **ipywidgets.widget_serialization
    )
