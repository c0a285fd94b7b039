"""The anywidget class: what it carries, and what it refuses."""

from __future__ import annotations

import pytest
import traitlets

from kpwidget.widget import stage
from kpwidget.widget.stage import Stage


@pytest.fixture
def shown():
    made = Stage()
    yield made
    made.close()


def test_it_carries_the_bundle(shown):
    assert "export" in shown._esm
    assert ".kpwidget-stage" in shown._css


def test_a_missing_bundle_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(stage, "_STATIC", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has not been built.*`make "):
        Stage()


@pytest.mark.parametrize("height", [199, 4001, -1])
def test_a_height_no_screen_has_is_refused_with_the_range(shown, height):
    with pytest.raises(traitlets.TraitError, match=rf"200 to 4000 CSS px, got {height}"):
        shown.height = height
    assert shown.height == 600


@pytest.mark.parametrize("name", ["scene", "look", "categories", "poster", "height"])
def test_traits_refuse_values_of_another_kind(shown, name):
    with pytest.raises(traitlets.TraitError):
        setattr(shown, name, object())


def test_a_saved_notebook_holds_the_traits(shown):
    state = shown.get_state()
    assert {"scene", "categories", "look", "poster", "height", "canvases"} <= set(state)


def test_a_message_goes_to_the_subshell_it_names(shown):
    """ipykernel would send it to the one in whose context Python last published."""
    comm = pytest.importorskip("ipykernel.comm.comm").BaseComm(target_name="x")
    if not hasattr(comm, "_reply_subshell_for"):
        pytest.skip("this ipykernel has no such route: 7.4 has")
    assert comm._reply_subshell_for({}, "named") == "named"
    comm._reply_subshell_id = "gone with its page"
    assert comm._reply_subshell_for({}, "named") == "gone with its page"
    shown.comm = comm
    assert comm._reply_subshell_for is None  # the kernel then takes the one that is named
