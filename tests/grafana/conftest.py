from collections.abc import Iterator

import pytest

from tests.grafana.stack import Stack, running_stack, settle, switch_off


@pytest.fixture(scope="module")  # its scrapes, once a second, must not run beside all other tests
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        switch_off(running, "group-4")
        settle(running)
        yield running
