"""stub"""


def save_sharded(*a, **k):
    raise NotImplementedError


def load_sharded(*a, **k):
    raise NotImplementedError
