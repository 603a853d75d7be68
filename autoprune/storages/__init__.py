"""Where studies are kept: an SQLite file, a database server, a journal file, or a server in front of one."""

from autoprune.storages.address import Address, read_address
from autoprune.storages.open import open_storage
from autoprune.storages.trouble import explained, unusable

__all__ = ["Address", "explained", "open_storage", "read_address", "unusable"]
