"""`LoRARequest`: which adapter a request runs with, as vLLM has it."""

from __future__ import annotations

from dataclasses import dataclass

from minillm.errors import MinillmError


@dataclass(eq=False)
class LoRARequest:
    """An adapter of PEFT's, by name, number and folder.

    One number is one folder for as long as the adapter is in memory; `load_inplace` reads the folder again,
    where its files have changed, for requests from then on. Raises `MinillmError` for a number below 1, and
    without a name or a folder.
    """

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: str | None = None
    load_inplace: bool = False
    lora_local_path: str | None = None

    def __post_init__(self) -> None:
        self.lora_path = str(self.lora_path or self.lora_local_path or "")
        self.lora_local_path = self.lora_path
        if not isinstance(self.lora_int_id, int) or self.lora_int_id < 1:
            raise MinillmError(f"lora_int_id must be a whole number above 0, got {self.lora_int_id!r}")
        if not self.lora_name or not self.lora_path:
            raise MinillmError("a LoRARequest needs a lora_name and a lora_path, the adapter's folder")

    @property
    def adapter_id(self) -> int:
        """The number."""
        return self.lora_int_id

    @property
    def name(self) -> str:
        """The name."""
        return self.lora_name

    @property
    def path(self) -> str:
        """The folder."""
        return self.lora_path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoRARequest) and self.lora_name == other.lora_name

    def __hash__(self) -> int:
        return hash(self.lora_name)
