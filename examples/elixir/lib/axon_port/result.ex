defmodule AxonPort.Result do
  @moduledoc """
  How a run ended well.

  `output` is the answer: a string, or what the agent's output schema describes, as a struct where the schema is one.
  `messages` is what a next run takes as `:history`. With `status: :deferred` there is no output; `deferred` lists
  the calls that wait for somebody, and `messages` are there to carry on with.
  """

  alias AxonPort.{Error, Schema}
  alias AxonPort.Schema.Type

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

  @doc """
  The result with its output as a value of this type (`AxonPort.Schema`); `nil` leaves it as it is.

  An error means that the data met the JSON Schema and yet is no value: a date that no calendar has.
  """
  @spec cast(t, Type.notation()) :: {:ok, t} | {:error, Error.t()}
  def cast(%__MODULE__{status: status} = result, type) when type == nil or status == :deferred do
    {:ok, result}
  end

  def cast(%__MODULE__{} = result, type) do
    case Schema.cast(type, result.output) do
      {:ok, output} ->
        {:ok, %{result | output: output}}

      {:error, {path, expected}} ->
        place = if path == [], do: "", else: " at #{Enum.join(path, ".")}"
        error = Error.new(:invalid_output, "expected #{expected}#{place}")
        {:error, %{error | agent_id: result.agent_id, usage: result.usage, messages: result.messages}}
    end
  end
end
