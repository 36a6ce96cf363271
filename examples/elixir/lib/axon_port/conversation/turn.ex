defmodule AxonPort.Conversation.Turn do
  @moduledoc """
  The turn under way: who waits for it, and what it is doing.

  | doing | ends with | then |
  | --- | --- | --- |
  | `{:run, ref}` | a result | the end, or `:resolve` if it has left calls open |
  | | an error | `:wait` if it may be tried again, else the end |
  | `{:wait, timer}` | the timer | another `:run` |
  | `{:resolve, tasks}` | the last task | another `:run` if nothing is open any more, else the end |

  `attempt` counts the runs since the last that ended well, `rounds` those that ended with calls open. `prompt` is `nil`
  once the transcript holds it. The transcript is the turn's own, and becomes the conversation's when the turn ends: one
  that crashes half-way leaves nothing behind.
  """

  alias AxonPort.Conversation.Transcript

  @enforce_keys [:from, :transcript]
  defstruct [
    :from,
    :transcript,
    :prompt,
    :doing,
    :result,
    options: %{},
    attempt: 1,
    rounds: 0,
    cancelled: false
  ]

  @type t :: %__MODULE__{
          from: GenServer.from(),
          transcript: Transcript.t(),
          prompt: String.t() | [map] | nil,
          doing:
            nil
            | {:run, reference}
            | {:wait, reference}
            | {:resolve, %{reference => {Task.t(), call_id :: String.t()}}},
          result: AxonPort.Result.t() | nil,
          options: map,
          attempt: pos_integer,
          rounds: non_neg_integer,
          cancelled: boolean
        }
end
