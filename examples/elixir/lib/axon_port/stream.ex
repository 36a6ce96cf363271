defmodule AxonPort.Stream do
  @moduledoc """
  A run as a lazy stream, whose demand is the protocol's credit.

  The worker may send as many chunks as the consumer has room for (`:window`), and each time half of them have been
  taken it is given credit for as many more. So at most `:window` chunks are ever under way or in the consumer's
  mailbox, however slow it is; meanwhile the worker joins neighbouring pieces of text, and nothing is lost.

  Each enumeration is a run of its own, and belongs to the process that began it: its chunks come to that one, and no
  other can go on with it. Halting one cancels its run.
  """

  alias AxonPort.{Chunk, Error, Result, Router, Run, Worker}

  @default_window 16

  @doc "The stream of `AxonPort.run_stream/4`."
  @spec new(AxonPort.server(), AxonPort.agent(), AxonPort.prompt(), keyword) :: Enumerable.t()
  def new(server, agent, prompt, options) do
    {window, options} = Keyword.pop(options, :window, @default_window)
    (is_integer(window) and window > 0) or raise ArgumentError, ":window cannot be #{inspect(window)}"
    options = Keyword.put(options, :credit, window)

    Stream.resource(
      fn -> begin(server, agent, prompt, options, window) end,
      &next/1,
      &leave/1
    )
  end

  defp begin(server, agent, prompt, options, window) do
    with {:ok, request} <- Run.request(:stream, agent, prompt, options),
         {:ok, opened} <- Router.open(server, request, &open/2) do
      Map.merge(opened, %{
        server: server,
        owner: self(),
        tried: [],
        output: request.output,
        window: window,
        taken: 0
      })
    else
      {:error, error} -> raise error
    end
  end

  defp open(worker, request) do
    with {:ok, opened} <- Worker.open(worker, request, :alias), do: {:ok, Map.put(opened, :request, request)}
  end

  defp next(:over), do: {:halt, :over}

  defp next(%{owner: owner}) when owner != self(),
    do: raise(ArgumentError, "a stream goes on in the process that began it, and that is #{inspect(owner)}")

  defp next(%{ref: ref} = state) do
    receive do
      {:axon_port, ^ref, {:chunk, %Chunk{} = chunk}} -> {[chunk], taken(%{state | request: nil})}
      {:axon_port, ^ref, {:result, %Result{} = result}} -> {[result!(result, state)], over(state)}
      {:axon_port, ^ref, {:error, %Error{} = error}} -> {[], elsewhere(state, error)}
      {:DOWN, ^ref, :process, _pid, reason} -> raise Error.new(:worker_exited, %{reason: reason})
    end
  end

  # The request is kept until the first chunk: a worker that refuses does so before that.
  defp elsewhere(%{request: request, worker: worker} = state, error) when request != nil do
    tried = [worker | state.tried]

    case Router.reopen(state.server, request, &open/2, tried, error) do
      {:ok, opened} ->
        over(state)
        Map.merge(state, Map.put(opened, :tried, tried))

      {:error, error} ->
        raise error
    end
  end

  defp elsewhere(_begun, error), do: raise(error)

  # Credit is given back in halves of the window: not a command for every chunk, and never a worker that has to wait
  # for a consumer that keeps up.
  defp taken(%{taken: taken, window: window} = state) when (taken + 1) * 2 >= window do
    :ok = Worker.credit(state.worker, state.id, taken + 1)
    %{state | taken: 0}
  end

  defp taken(state), do: %{state | taken: state.taken + 1}

  defp result!(result, state) do
    case Result.cast(result, state.output) do
      {:ok, result} -> result
      {:error, error} -> raise error
    end
  end

  defp over(%{ref: ref}) do
    Process.demonitor(ref, [:flush])
    :over
  end

  # Halted, failed, or the consumer raised: nobody wants the rest.
  defp leave(:over), do: :ok

  # Its messages are not ours, nor is the monitor.
  defp leave(%{owner: owner, worker: worker, id: id}) when owner != self(), do: Worker.leave(worker, id)

  defp leave(%{ref: ref, worker: worker, id: id} = state) do
    over(state)
    Worker.leave(worker, id)
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {:axon_port, ^ref, _message} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
