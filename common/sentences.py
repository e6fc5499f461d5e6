"""What pydantic found wrong, in sentences a person would write. For request bodies, settings and route tables alike."""

from pydantic_core import ErrorDetails

_SENTENCES = {
    "extra_forbidden": "Unknown field",
    "missing": "{label} is required",
    "model_type": "{label} must be a table",
    "dict_type": "{label} must be a table",
    "string_too_short": "{label} must be at least {min_length} characters",
    "string_too_long": "{label} must be at most {max_length} characters",
    "string_type": "{label} must be a string",
    "string_pattern_mismatch": "{label} has an invalid format",
    "int_type": "{label} must be a whole number",
    "int_parsing": "{label} must be a whole number",
    "int_from_float": "{label} must be a whole number",
    "bool_type": "{label} must be true or false",
    "bool_parsing": "{label} must be true or false",
    "float_type": "{label} must be a number",
    "float_parsing": "{label} must be a number",
    "decimal_type": "{label} must be a decimal number",
    "decimal_parsing": "{label} must be a decimal number",
    "decimal_max_places": "{label} must have at most {decimal_places} decimal places",
    "decimal_max_digits": "{label} is too large",
    "decimal_whole_digits": "{label} is too large",
    "finite_number": "{label} must be a finite number",
    "greater_than": "{label} must be greater than {gt}",
    "greater_than_equal": "{label} must be at least {ge}",
    "less_than": "{label} must be less than {lt}",
    "less_than_equal": "{label} must be at most {le}",
    "uuid_type": "{label} must be a UUID",
    "uuid_parsing": "{label} must be a UUID",
    "date_type": "{label} must be a date (YYYY-MM-DD)",
    "date_parsing": "{label} must be a date (YYYY-MM-DD)",
    "date_from_datetime_parsing": "{label} must be a date (YYYY-MM-DD)",
    "date_from_datetime_inexact": "{label} must be a date (YYYY-MM-DD)",
    "datetime_type": "{label} must be a time (ISO 8601)",
    "datetime_parsing": "{label} must be a time (ISO 8601)",
    "datetime_from_date_parsing": "{label} must be a time (ISO 8601)",
    "timezone_aware": "{label} must carry a time zone",
    "byte_size": "{label} must be a size such as 20MB or 100MiB",
    "byte_size_unit": "{label} must be a size such as 20MB or 100MiB",
    "list_type": "{label} must be a list",
    "too_long": "{label} must have at most {max_length} items",
    "too_short": "{label} must have at least {min_length} items",
    "enum": "{label} must be one of {expected}",
    "literal_error": "{label} must be one of {expected}",
}


def sentence(fault: ErrorDetails, label: str) -> str:
    """What is wrong, said of `label`: `Amount must be greater than 0`."""
    pattern = _SENTENCES.get(fault["type"])
    if pattern is None:
        # Our own checks (PydanticCustomError, ValueError) bring their sentence along.
        return fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_too_short" and fault["ctx"]["min_length"] == 1:
        pattern = "{label} must not be empty"
    given = {name: _plain(value) for name, value in fault.get("ctx", {}).items()}
    return pattern.format(label=label, **{"expected": "", **given})


def _plain(value: object) -> object:
    """0 for 0.0, which is what pydantic makes of a bound of a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
