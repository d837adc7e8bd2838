"""Connection strings of MongoDB: what is in them, and whether they lead to a database."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from laoc_flows.errors import ServiceError

_CREDENTIALS = re.compile(r"^(?P<scheme>mongodb(?:\+srv)?://)(?P<userinfo>[^/@]*)@")
_HOST = r"(?:[\w.-]+|\[[\da-fA-F:]+\])(?::\d+)?"
_WELL_FORMED = re.compile(
    rf"^(?P<scheme>mongodb(?:\+srv)?://)(?P<userinfo>[^/?@]*@)?(?P<hosts>{_HOST}(?:,{_HOST})*)(?:[/?][^@]*)?$"
)
_PING_TIMEOUT = 5000  # ms


def without_login(uri: SecretStr) -> tuple[str, dict[str, str]]:
    """Take user and password out of a connection string.

    Parameters
    ----------
    uri : pydantic.SecretStr
        Connection string.

    Returns
    -------
    str
        Connection string without them.
    dict
        User and password as keyword arguments of MongoClient.
    """
    text = uri.get_secret_value()
    match = _CREDENTIALS.match(text)
    if match is None:
        return text, {}
    user, _, password = match["userinfo"].partition(":")
    login = {"username": unquote_plus(user)}
    if password:
        login["password"] = unquote_plus(password)
    return match["scheme"] + text[match.end() :], login


def _masked(uri: SecretStr) -> str:
    """Give the hosts of a connection string; of one that is not well-formed nothing, all of it may be a secret."""
    text = uri.get_secret_value()
    match = _WELL_FORMED.match(text)
    if match is None:
        return f"{text.partition('://')[0]}://***"
    return f"{match['scheme']}{'***@' if match['userinfo'] else ''}{match['hosts']}"


def ping(uri: SecretStr) -> None:
    """Reach a database, or say what is in the way, without its password.

    Parameters
    ----------
    uri : pydantic.SecretStr
        Connection string.

    Raises
    ------
    ServiceError
        If the string is not valid, the database does not answer, or it refuses the login.
    """
    try:
        with MongoClient[dict[str, Any]](
            uri.get_secret_value(),
            serverSelectionTimeoutMS=_PING_TIMEOUT,
            connectTimeoutMS=_PING_TIMEOUT,
            socketTimeoutMS=_PING_TIMEOUT,
        ) as client:
            client.admin.command("ping")
    # What pymongo says about a malformed string may quote it, so that it is not repeated.
    except (InvalidURI, ConfigurationError, ValueError, TypeError):
        reason, remedy = (
            "the connection string is not valid",
            "percent-encode user and password; check the options",
        )
    except OperationFailure as error:
        reason, remedy = (
            f"MongoDB refuses the login (code {error.code})",
            "check user, password and authSource",
        )
    except PyMongoError as error:
        reason, remedy = (
            f"MongoDB does not answer ({type(error).__name__})",
            "check host, port, TLS and firewall",
        )
    else:
        return
    raise ServiceError(reason, where=f"mongo_uri = {_masked(uri)}", remedy=remedy)
