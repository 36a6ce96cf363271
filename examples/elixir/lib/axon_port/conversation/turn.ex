defmodule AxonPort.Conversation.Turn do
  @moduledoc """
  The turn under way, as a value: what becomes of a question, run by run.

  Every function tells the next step, which the conversation's process takes:

  | step | ends with | then |
  | --- | --- | --- |
  | `{:run, turn}` | a result | `:over`, or `:resolve` if it has left calls open |
  | | an error | `:wait` if it may be tried again, else `:over` |
  | `{:wait, ms, turn}` | time | `:run` |
  | `{:resolve, calls, turn}` | what somebody says to these calls, or does not | `:run` if nothing is open any more, else `:over` |
  | `{:over, outcome, transcript}` | | |

  The transcript is the turn's own until it is over: a conversation that crashes half-way keeps nothing of it.
  """

  alias AxonPort.{Backoff, Error, Milliseconds, Result}
  alias AxonPort.Conversation.Transcript

  @enforce_keys [:transcript, :before]
  defstruct [:transcript, :before, :prompt, :result, options: %{}, attempt: 1, rounds: 0, cancelled: false]

  @typedoc """
    * `before` - the transcript without this turn
    * `prompt` - `nil` once the transcript holds it
    * `result` - of the last run, if it has left calls open
    * `attempt` - counts the runs since the last that ended well
    * `rounds` - how often the turn has gone on by itself
  """
  @type t :: %__MODULE__{
          transcript: Transcript.t(),
          before: Transcript.t(),
          prompt: String.t() | [map] | nil,
          result: Result.t() | nil,
          options: map,
          attempt: pos_integer,
          rounds: non_neg_integer,
          cancelled: boolean
        }

  @type limits :: %{attempts: pos_integer, backoff: Backoff.t(), max_rounds: non_neg_integer}
  @type outcome :: {:ok, Result.t()} | {:error, Error.t()}
  @type step ::
          {:run, t}
          | {:wait, non_neg_integer, t}
          | {:resolve, [Transcript.open_call()], t}
          | {:over, outcome, Transcript.t()}

  @doc "A turn of its own for a prompt."
  @spec ask(Transcript.t(), String.t() | [map], map) :: step | {:error, Error.t()}
  def ask(%Transcript{open: []} = before, prompt, options) do
    {:run, %{new(before, options) | prompt: prompt, transcript: Transcript.begin_turn(before)}}
  end

  def ask(before, _prompt, _options) do
    case Transcript.unanswered(before) do
      [] -> {:error, Error.new(:calls_open, "all have one, so that the turn can be resumed")}
      _calls -> {:error, Error.new(:calls_open)}
    end
  end

  @doc "Goes on with the last turn."
  @spec resume(Transcript.t(), map) :: step | {:error, Error.t()}
  def resume(before, options) do
    case Transcript.unanswered(before) do
      [] -> {:run, new(before, options)}
      _calls -> {:error, Error.new(:calls_open)}
    end
  end

  @doc "Goes on with the last turn, if these are the last answers that it waits for."
  @spec answer(Transcript.t(), %{String.t() => map}, map) :: step | {:error, Error.t()}
  def answer(%Transcript{open: []}, _entries, _options), do: {:error, Error.new(:no_such_call)}

  def answer(before, entries, options) do
    case Transcript.answer(before, entries) do
      {:ok, answered} -> carry_on(%{new(before, options) | transcript: answered})
      {:error, ids} -> {:error, Error.new(:no_such_call, Enum.join(ids, ", "))}
    end
  end

  defp new(before, options), do: %__MODULE__{before: before, transcript: before, options: options}

  @doc "What a run is given beside the prompt."
  @spec inputs(t) :: keyword
  def inputs(%__MODULE__{transcript: %Transcript{answers: answers} = transcript}) do
    results = if answers == %{}, do: [], else: [deferred_results: answers]
    [history: Transcript.history(transcript)] ++ results
  end

  @doc "A run has ended."
  @spec ran(t, outcome, limits) :: step
  def ran(turn, outcome, limits)

  def ran(turn, {:ok, %Result{status: :complete} = result}, _limits) do
    turn |> heard(result) |> over(result)
  end

  def ran(turn, {:ok, %Result{deferred: %{"calls" => calls}} = result}, limits) do
    turn = heard(turn, result)
    turn = %{turn | result: result, attempt: 1, transcript: Transcript.leave_open(turn.transcript, calls)}
    if turn.cancelled or turn.rounds >= limits.max_rounds, do: carry_on(turn), else: {:resolve, calls, turn}
  end

  def ran(turn, {:error, %Error{} = error}, limits) do
    turn = heard(turn, error)

    if Error.retryable?(error) and turn.attempt < limits.attempts and not turn.cancelled do
      {:wait, delay(error, turn.attempt, limits.backoff), %{turn | attempt: turn.attempt + 1}}
    else
      over(turn, error)
    end
  end

  # What was said, well or not, holds the prompt: it is not said again.
  defp heard(turn, %{messages: messages, usage: usage}) do
    prompt = if messages in [nil, []], do: turn.prompt
    %{turn | prompt: prompt, transcript: Transcript.add(turn.transcript, messages, usage)}
  end

  # A provider that says how long to wait is believed.
  defp delay(error, attempt, backoff) do
    Backoff.delay(backoff, attempt) |> max(error.retry_after_ms || 0) |> min(Milliseconds.longest())
  end

  @doc "Somebody has answered an open call."
  @spec resolved(t, String.t(), map) :: t
  def resolved(turn, call_id, entry) do
    {:ok, transcript} = Transcript.answer(turn.transcript, %{call_id => entry})
    %{turn | transcript: transcript}
  end

  @doc "Goes on if no call waits for an answer any more."
  @spec carry_on(t) :: step
  def carry_on(turn) do
    case Transcript.unanswered(turn.transcript) do
      [] -> {:run, %{turn | rounds: turn.rounds + 1}}
      calls -> over(turn, %{(turn.result || %Result{status: :deferred}) | deferred: %{"calls" => calls}})
    end
  end

  @doc "Ends the turn where it is."
  @spec cancel(t) :: step
  def cancel(turn), do: over(turn, Error.new(:cancelled))

  defp over(turn, %Error{} = error), do: {:over, {:error, error}, Transcript.end_turn(turn.transcript)}

  # A turn can be many runs: whoever asked is told of all of them.
  defp over(%{transcript: transcript} = turn, %Result{} = result) do
    usage = Map.merge(result.usage || %{}, Transcript.spent(transcript, turn.before))
    {:over, {:ok, %{result | messages: Transcript.last_turn(transcript), usage: usage}}, transcript}
  end
end
