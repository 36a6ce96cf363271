defmodule AxonPort.Result do
  @moduledoc """
  How a run ended well.

  `output` is the answer: a string, or what the agent's output schema describes, as a struct where the schema is one.
  `messages` is what a next run takes as `:history`. With `status: :deferred` there is no output; `deferred` lists
  the calls that wait for somebody, and `messages` are there to carry on with.
  """

  defstruct [:output, :messages, :usage, :deferred, :agent_id, :run_id, :duration_ms, status: :complete]

  @type t :: %__MODULE__{
          output: term,
          status: :complete | :deferred,
          messages: [map] | nil,
          usage: map | nil,
          deferred: %{optional(String.t()) => term} | nil,
          agent_id: String.t() | nil,
          run_id: String.t() | nil,
          duration_ms: non_neg_integer | nil
        }

  @doc "The result that a `result` frame of a run tells of."
  @spec from_frame(map) :: t
  def from_frame(frame) do
    %__MODULE__{
      output: frame["result"],
      status: if(frame["status"] == "deferred", do: :deferred, else: :complete),
      messages: frame["messages"],
      usage: frame["usage"],
      deferred: frame["deferred"],
      agent_id: frame["agent_id"],
      run_id: frame["run_id"],
      duration_ms: frame["duration_ms"]
    }
  end
end
