from timewait.host.file import EPOLLIN, File, Watcher


class Recorder(Watcher):
    def __init__(self):
        self.told = []
        self.gone = 0

    def notify(self, file, mask):
        self.told.append(mask)

    def file_released(self, file):
        self.gone += 1


class Closing(File):
    closed = 0

    def released(self):
        self.closed += 1


def test_an_idle_file_holds_no_container():
    assert File().watchers is None


def test_the_last_reference_releases_once_and_tells_watchers_first():
    file, watcher = Closing(), Recorder()
    file.watch(watcher)
    file.retain()
    file.release()
    assert (file.closed, watcher.gone) == (0, 0)
    file.release()
    assert (file.closed, watcher.gone) == (1, 1)


def test_wake_reaches_every_watcher_until_it_leaves():
    file, one, two = File(), Recorder(), Recorder()
    file.watch(one)
    file.watch(two)
    file.wake(EPOLLIN)
    file.unwatch(one)
    file.wake(EPOLLIN)
    assert (len(one.told), len(two.told)) == (1, 2)
    file.unwatch(two)
    assert file.watchers is None
