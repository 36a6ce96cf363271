defmodule AxonPort.Error do
  @moduledoc """
  What went wrong: one exception for everything, with an enumerated `reason`.

  Match on `reason` and on `retryable`; `message` is for people.

      case AxonPort.run_sync(MyApp.Agents, "support", "Hello") do
        {:ok, result} -> result.output
        {:error, %AxonPort.Error{reason: :usage_limit_exceeded, messages: messages}} -> give_up(messages)
        {:error, error} -> if AxonPort.Error.retryable?(error), do: later(), else: raise(error)
      end

  ## What the worker says

  Each `error_type` of the protocol has a reason of its own, `ModelHTTPError` is `:model_http_error`, and so on. An
  error of a run that had begun carries its `usage`, and `messages` which a next run can go on from. A type that this
  version does not know is `:unknown_error`, with the type under `error_type`.

  ## What this side says

  | reason | retryable | when |
  | --- | --- | --- |
  | `:worker_exited` | yes | the worker is gone, and whether the command took effect is not known |
  | `:worker_not_started` | no | there is no such program, or it cannot be run |
  | `:not_ready` | yes | no worker became ready in time, the pool's or the caller's |
  | `:owner_timeout` | yes | nothing was heard within `:timeout` and its margin; the run was cancelled |
  | `:abandoned` | no | the caller died or left its stream; only telemetry hears of it |
  | `:overloaded` | yes | every worker is full, or too much waits to be written to one |
  | `:shutting_down` | yes | the worker is draining |
  | `:frame_too_large` | no | the command is longer than the worker reads |
  | `:unencodable` | no | a value has no JSON form, or one that no worker reads: nested deeper than 200 levels |
  | `:undecodable` | no | a text is no JSON |
  | `:invalid_output` | no | a result meets its schema and has no value by its type: a date that no calendar has |
  | `:cancelled` | no | a conversation's turn was cancelled while no run of it was under way |
  | `:calls_open`, `:no_such_call` | no | a conversation waits for answers to other calls, or to none |
  | `:turn_under_way` | no | what cannot be done meanwhile |
  | `:conversation_exited` | no | the process of a conversation is not there, or has gone |
  | `:protocol_violation` | no | the worker said what no worker says |
  """

  @wire %{
    "AgentExists" => :agent_exists,
    "AgentNotFound" => :agent_not_found,
    "Cancelled" => :cancelled,
    "CapabilityNotAllowed" => :capability_not_allowed,
    "ContentFilter" => :content_filter,
    "DuplicateId" => :duplicate_id,
    "FrameTooLarge" => :frame_too_large,
    "ImportNotAllowed" => :import_not_allowed,
    "InternalError" => :internal_error,
    "InvalidAgent" => :invalid_agent,
    "InvalidCommand" => :invalid_command,
    "InvalidDeps" => :invalid_deps,
    "InvalidHistory" => :invalid_history,
    "InvalidJSON" => :invalid_json,
    "ModelConnectionError" => :model_connection_error,
    "ModelHTTPError" => :model_http_error,
    "ModelTimeout" => :model_timeout,
    "Overloaded" => :overloaded,
    "ParentGone" => :parent_gone,
    "ResultTooLarge" => :result_too_large,
    "ShuttingDown" => :shutting_down,
    "Timeout" => :timeout,
    "ToolError" => :tool_error,
    "ToolRetriesExceeded" => :tool_retries_exceeded,
    "TruncatedFrame" => :truncated_frame,
    "UnexpectedModelBehavior" => :unexpected_model_behavior,
    "UnknownCommand" => :unknown_command,
    "UnknownToolCall" => :unknown_tool_call,
    "UsageLimitExceeded" => :usage_limit_exceeded,
    "ValidationError" => :validation_error
  }

  # Reason => {whether the same may succeed later, what people read}.
  @own %{
    worker_exited: {true, "the worker has gone"},
    worker_not_started: {false, "the worker cannot be started"},
    not_ready: {true, "no worker is ready"},
    owner_timeout: {true, "there was no answer in time"},
    abandoned: {false, "nobody waits for the answer any more"},
    overloaded: {true, "all workers are full"},
    shutting_down: {true, "the worker is shutting down"},
    frame_too_large: {false, "the command is longer than the worker reads"},
    unencodable: {false, "the value has no JSON form"},
    undecodable: {false, "the text is no JSON"},
    cancelled: {false, "the turn was cancelled"},
    calls_open: {false, "calls of the last turn wait for an answer"},
    no_such_call: {false, "no such call is open"},
    turn_under_way: {false, "a turn is under way"},
    conversation_exited: {false, "the conversation has gone"},
    invalid_output: {false, "the result meets its schema and yet has no value"},
    protocol_violation: {false, "the worker does not speak the protocol"}
  }

  @type reason :: atom

  @type t :: %__MODULE__{
          reason: reason,
          message: String.t(),
          retryable: boolean,
          error_type: String.t() | nil,
          details: term,
          retry_after_ms: non_neg_integer | nil,
          usage: map | nil,
          messages: [map] | nil,
          agent_id: String.t() | nil
        }

  defexception [
    :reason,
    :message,
    :error_type,
    :details,
    :retry_after_ms,
    :usage,
    :messages,
    :agent_id,
    retryable: false
  ]

  @doc "An error of this side. `details` say more; a text among them is added to the message."
  @spec new(reason, term) :: t
  def new(reason, details \\ nil) when is_map_key(@own, reason) do
    {retryable, text} = Map.fetch!(@own, reason)
    message = if is_binary(details), do: "#{text}: #{details}", else: text
    %__MODULE__{reason: reason, message: message, retryable: retryable, details: details}
  end

  @doc "The error that an `error` frame tells of."
  @spec from_frame(map) :: t
  def from_frame(%{"error_type" => type} = frame) do
    %__MODULE__{
      reason: Map.get(@wire, type, :unknown_error),
      error_type: type,
      message: frame["message"] || type,
      retryable: frame["retryable"] == true,
      details: frame["details"],
      retry_after_ms: wait(frame["retry_after_ms"]),
      usage: frame["usage"],
      messages: frame["messages"],
      agent_id: frame["agent_id"]
    }
  end

  # What a provider has said of it may be anything.
  defp wait(ms) when is_integer(ms), do: max(ms, 0)
  defp wait(_none), do: nil

  @doc "Whether the same command may succeed later."
  @spec retryable?(t) :: boolean
  def retryable?(%__MODULE__{retryable: retryable}), do: retryable

  @doc """
  Whether the command never took effect, so that another worker can be given it at once, whatever it does.
  """
  @spec refused?(t) :: boolean
  def refused?(%__MODULE__{reason: reason}), do: reason in [:overloaded, :shutting_down, :not_ready]

  @doc "Every reason there is, with the protocol's `error_type` where it comes from there."
  @spec reasons() :: %{reason => String.t() | nil}
  def reasons do
    own = Map.new(@own, fn {reason, _} -> {reason, nil} end)
    Map.merge(own, Map.new(@wire, fn {type, reason} -> {reason, type} end))
  end
end
