from tests.exporter.conftest import mail_server, start

__all__ = ["mail_server", "start"]
