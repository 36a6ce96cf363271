defmodule AxonPort.Milliseconds do
  @moduledoc """
  What may be waited for: from one millisecond to 49 days.

  Erlang's `receive` takes no more, and raises in whoever waits: so it is asked of those who give a limit.
  """

  @longest 49 * 24 * 60 * 60 * 1000

  @doc "Whether a term is a time to wait for."
  defguard is_milliseconds(term) when is_integer(term) and term > 0 and term <= @longest

  @doc "The longest there is."
  @spec longest() :: pos_integer
  def longest, do: @longest
end
