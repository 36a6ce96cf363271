defmodule AxonPort.Chunk do
  @moduledoc """
  A piece of a streamed answer.

  | kind | data |
  | --- | --- |
  | `:text`, `:thinking` | the next piece, a string |
  | `:output` | the structured result so far; each one takes the place of the one before |
  | `:tool_call` | `%{"name", "args", "call_id"}` |
  | `:tool_return` | `%{"name", "content", "call_id"}` |

  `seq` counts from 0 without a gap. `step` counts the requests to the model: the text of the highest one is the
  answer, the text of those before it was said beside tool calls.
  """

  @enforce_keys [:kind, :data, :seq, :step]
  defstruct [:kind, :data, :seq, :step]

  @type kind :: :text | :thinking | :output | :tool_call | :tool_return
  @type t :: %__MODULE__{kind: kind, data: term, seq: non_neg_integer, step: pos_integer}

  @kinds Map.new([:text, :thinking, :output, :tool_call, :tool_return], &{Atom.to_string(&1), &1})

  @doc "The kinds there are."
  @spec kinds() :: [kind]
  def kinds, do: Map.values(@kinds)

  @doc "The piece that a `chunk` frame carries, or `:error` where its kind is not known."
  @spec from_frame(map) :: {:ok, t} | :error
  def from_frame(%{"kind" => kind, "data" => data, "seq" => seq, "step" => step}) do
    with {:ok, kind} <- Map.fetch(@kinds, kind) do
      {:ok, %__MODULE__{kind: kind, data: data, seq: seq, step: step}}
    end
  end
end
