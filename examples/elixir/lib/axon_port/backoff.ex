defmodule AxonPort.Backoff do
  @moduledoc """
  How long to wait before the next attempt: twice as long each time, up to a limit, and never quite as long as the
  others that wait.

  The wait before attempt n + 1 is between half and all of `base` × 2ⁿ⁻¹, at most `max` milliseconds.
  """

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  defstruct base: 500, max: 30_000

  @type t :: %__MODULE__{base: pos_integer, max: pos_integer}

  # 2 to this power times any base is beyond any sensible limit.
  @highest_power 32

  @doc "Raises `ArgumentError` for what are no milliseconds."
  @spec new(keyword | t) :: t
  def new(%__MODULE__{} = backoff), do: backoff

  def new(options) do
    for {key, value} <- options do
      (key in [:base, :max] and is_milliseconds(value)) ||
        raise ArgumentError, "backoff cannot have #{inspect(key)} #{inspect(value)}"
    end

    struct!(__MODULE__, options)
  end

  @doc "Milliseconds to wait when `failures` attempts have failed in a row. `random` is between 0 and 1."
  @spec delay(t, pos_integer, float) :: pos_integer
  def delay(%__MODULE__{base: base, max: max}, failures, random \\ :rand.uniform()) when failures > 0 do
    full = min(max, base * Integer.pow(2, min(failures - 1, @highest_power)))
    max(1, round(full * (1 + random) / 2))
  end
end
