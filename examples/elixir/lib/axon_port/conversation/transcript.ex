defmodule AxonPort.Conversation.Transcript do
  @moduledoc """
  What has been said in a conversation, and what waits to be said: a value, with nothing running in it.

  A conversation is a list of turns, each the messages that came of one question. The last turn may have calls open: a
  run has ended without them, and somebody has to answer them before it can go on. A run that goes on belongs to the same
  turn.

  | state | a run | leads to |
  | --- | --- | --- |
  | nothing open | with a prompt | its messages, in a turn of their own |
  | nothing open | without a prompt | goes on with the last turn, as after a failure |
  | calls open, some without an answer | none | |
  | calls open, all answered | with these answers | messages that hold them: nothing is open any more |

  Messages are pydantic-ai's own and are kept as they came.
  """

  alias AxonPort.Plain

  defstruct turns: [], open: [], answers: %{}, usage: %{}

  @typedoc "A call that a run has left open, as the worker told of it: `call_id`, `name`, `args`, and `approval`."
  @type open_call :: %{String.t() => Plain.t()}

  @typedoc "The last turn comes first."
  @type t :: %__MODULE__{
          turns: [[map]],
          open: [open_call],
          answers: %{String.t() => map},
          usage: %{String.t() => number}
        }

  @doc "All messages, in their order."
  @spec history(t) :: [map]
  def history(%__MODULE__{turns: turns}), do: turns |> Enum.reverse() |> Enum.concat()

  @doc "The messages of the last turn."
  @spec last_turn(t) :: [map]
  def last_turn(%__MODULE__{turns: []}), do: []
  def last_turn(%__MODULE__{turns: [turn | _earlier]}), do: turn

  @doc "Begins a turn."
  @spec begin_turn(t) :: t
  def begin_turn(%__MODULE__{turns: turns} = transcript), do: %{transcript | turns: [[] | turns]}

  @doc "Ends a turn: one of which nothing is known has not taken place."
  @spec end_turn(t) :: t
  def end_turn(%__MODULE__{turns: [[] | turns]} = transcript), do: %{transcript | turns: turns}
  def end_turn(transcript), do: transcript

  @doc """
  Adds what a run has said and what it cost. Any message at all holds the answers that the run was given, so they are
  not given again.
  """
  @spec add(t, [map] | nil, map | nil) :: t
  def add(transcript, messages, usage)
  def add(transcript, none, usage) when none in [nil, []], do: cost(transcript, usage)

  def add(%__MODULE__{} = transcript, messages, usage) do
    {turn, earlier} = List.pop_at(transcript.turns, 0, [])
    cost(%{transcript | turns: [turn ++ messages | earlier], open: [], answers: %{}}, usage)
  end

  defp cost(transcript, nil), do: transcript

  defp cost(transcript, usage) do
    counts = for {key, count} <- usage, is_number(count), into: %{}, do: {key, count}
    %{transcript | usage: Map.merge(transcript.usage, counts, fn _key, one, other -> one + other end)}
  end

  @doc "What was spent since the transcript was this earlier one."
  @spec spent(t, t) :: %{String.t() => number}
  def spent(%__MODULE__{usage: usage}, %__MODULE__{usage: earlier}) do
    Map.new(usage, fn {key, count} -> {key, count - Map.get(earlier, key, 0)} end)
  end

  @doc "Leaves these calls open."
  @spec leave_open(t, [open_call]) :: t
  def leave_open(transcript, calls), do: %{transcript | open: calls, answers: %{}}

  @doc "The open calls that have no answer."
  @spec unanswered(t) :: [open_call]
  def unanswered(%__MODULE__{open: open, answers: answers}) do
    Enum.reject(open, &is_map_key(answers, &1["call_id"]))
  end

  @doc "Answers open calls, each with an entry of `deferred_results`; or names the ids that no open call has."
  @spec answer(t, %{String.t() => map}) :: {:ok, t} | {:error, [String.t()]}
  def answer(%__MODULE__{answers: answers} = transcript, entries) do
    case Map.keys(entries) -- Enum.map(transcript.open, & &1["call_id"]) do
      [] -> {:ok, %{transcript | answers: Map.merge(answers, entries)}}
      unknown -> {:error, unknown}
    end
  end

  @doc "Takes back the last turn, with what it has left open."
  @spec rewind(t) :: t
  def rewind(%__MODULE__{turns: turns} = transcript) do
    %{transcript | turns: Enum.drop(turns, 1), open: [], answers: %{}}
  end

  @doc "The transcript as plain data."
  @spec dump(t) :: %{String.t() => Plain.t()}
  def dump(%__MODULE__{} = transcript) do
    %{
      "turns" => Enum.reverse(transcript.turns),
      "open" => transcript.open,
      "answers" => transcript.answers,
      "usage" => transcript.usage
    }
  end

  @doc "The transcript that `dump/1` gave. `:error` for anything else."
  @spec load(term) :: {:ok, t} | :error
  def load(%{"turns" => turns, "open" => open, "answers" => answers, "usage" => usage})
      when is_list(turns) and is_list(open) and is_map(answers) and is_map(usage) do
    calls? = Enum.all?(open, &match?(%{"call_id" => _, "name" => _, "args" => _}, &1))

    if calls? and Enum.all?(turns, &is_list/1) do
      {:ok, %__MODULE__{turns: Enum.reverse(turns), open: open, answers: answers, usage: usage}}
    else
      :error
    end
  end

  def load(_other), do: :error
end
