"""What is chosen is drawn, and the first choice can be read without a kernel."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from helpers import explore


class Shown(list):
    """In place of a notebook: what was displayed, and the handles of what may change."""

    def display(self, part, display_id=False):
        self.append(part)
        place = len(self) - 1
        return type("Handle", (), {"update": lambda _, new: self.__setitem__(place, new)})()


@pytest.fixture
def shown(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(explore, "display", shown.display)
    yield shown
    plt.close("all")


def menus(shown: Shown) -> list[ipywidgets.Dropdown]:
    return list(shown[0].children)


def test_the_first_of_each_option_is_shown_and_then_what_is_chosen(shown):
    explore.choose(lambda one, other: [f"{one} {other}", "end"], one=["a", "b"], other={"first": 1, "second": 2})
    assert shown[1:] == ["a 1", "end"]
    first, second = menus(shown)
    second.value = 2
    assert shown[1:] == ["a 2", "end"]
    first.value = "b"
    assert shown[1:] == ["b 2", "end"]
    assert [menu.description for menu in (first, second)] == ["one", "other"]
    assert [label for label, _ in second.options] == ["first", "second"]


def test_an_axes_is_shown_as_its_figure_which_is_closed(shown):
    explore.choose(lambda one: [plt.subplots()[1]], one=[1, 2])
    assert isinstance(shown[1], plt.Figure)
    menus(shown)[0].value = 2
    assert plt.get_fignums() == []


def test_a_show_that_fails_says_so_and_leaves_the_last_picture(shown):
    explore.choose(lambda one: [1 / one], one=[1, 0])
    with pytest.raises(ZeroDivisionError):
        menus(shown)[0].value = 0
    assert shown[1:] == [1.0]
