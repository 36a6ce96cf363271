defmodule AxonPort.Schema.Field do
  @moduledoc "A field of an object or a struct: its name on both sides, its type, and what holds if it is missing."

  @enforce_keys [:name, :key, :type]
  defstruct [:name, :key, :type, presence: :required]

  @type t :: %__MODULE__{
          name: atom,
          key: String.t(),
          type: AxonPort.Schema.Type.t(),
          presence: :required | :optional | {:default, term}
        }
end
