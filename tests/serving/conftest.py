from tests.serving.running import start

__all__ = ["start"]
