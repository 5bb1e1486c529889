from tests.exporter.conftest import exporter, mail_server, start

__all__ = ["exporter", "mail_server", "start"]
