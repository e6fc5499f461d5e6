"""Answers in the camelCase of the account routes."""

from pydantic import AliasGenerator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class CamelAnswer(BaseModel):
    """Fields are dumped under camelCase names; made with their Python ones."""

    model_config = ConfigDict(frozen=True, alias_generator=AliasGenerator(serialization_alias=to_camel))
